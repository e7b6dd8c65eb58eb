"""Every kind of mistake is found on its line, all of them at once, and nothing else is complained about.

In the texts `# <- code` marks the line on which a problem of that code has to be reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sekisho.app.settings import Problem

Problems = Callable[..., tuple[Problem, ...]]

_PROVIDERS = 'providers: {local: {type: openai, base_url: "https://llm.example.com/v1"}}\n'
_ENDPOINTS = "endpoints: {chat: {targets: [{provider: local, model: m}]}}\n"

CASES = {
    "tables in a bucket": """
tables:
  url: s3://Rows/x                                      # <- unsupported
  s3:
    endpoint: http://s3.example                         # <- plain_http
    region: "a b"                                       # <- bad_region
    access_key_id: AKIA0123456789                       # <- literal_secret
    secret_access_key: "${env:NOT_SET}"                 # <- env_unset
    acces: 1                                            # <- unknown_key
  commit: {every_s: 0, rows: 0, mb: 1000, every: 1}     # <- bad_number bad_number bad_number unknown_key
""",
    "tables without what a bucket needs": """
tables:
  url: s3://rows
  s3: {allow_http: true}                                # <- missing missing missing
""",
    "a bucket without credentials": """
tables: {url: "s3://rows/a/../b"}                       # <- unsupported missing
""",
    "credentials without a bucket": """
tables:
  url: ./tables
  s3: {region: eu-west-1, access_key_id: "${env:APP_KEY}", secret_access_key: "${env:APP_KEY}"}  # <- unused
""",
    "tables in places of another kind": """
tables: {url: "gs://rows"}                              # <- unsupported
""",
    "unknown keys at every level": """
timezon: UTC                                            # <- unknown_key
server: {max_body: 3}                                   # <- unknown_key
defaults: {logs: full}                                  # <- unknown_key
endpoints:
  chat:
    target: []                                          # <- unknown_key
    targets:
      - {provider: local, model: m, wieght: 3}          # <- unknown_key
    fallbacks:
      - {provider: local, model: m, weight: 3}          # <- unknown_key
    timeouts: {connect: 5}                              # <- unknown_key
keys:
  - {name: a, key: "${env:APP_KEY}", teams: x}          # <- unknown_key
""",
    "wrong types": """
data_dir: [a]                                           # <- wrong_type
timezone: true                                          # <- wrong_type
endpoints:                                              # <- wrong_type
  - chat
keys: {a: b}                                            # <- wrong_type
teams: 5                                                # <- wrong_type
server: {max_body_mb: "32", keepalive_s: fast}          # <- wrong_type wrong_type
prices: {local/m: 3}                                    # <- wrong_type
log_level: {a: b}                                       # <- wrong_type
fx: {usd_jpy: １５０}                                    # <- wrong_type
""",
    "nothing after a key": """
language:                                               # <- no_value
server: {shutdown_s: }                                  # <- no_value
endpoints:
  chat:
    targets:
      - provider:                                       # <- no_value
        model: m
""",
    "duplicate keys": """
timezone: UTC
timezone: Asia/Tokyo                                    # <- duplicate_key
endpoints:
  chat: {targets: [{provider: local, model: m}]}
  chat: {targets: [{provider: local, model: n}]}        # <- duplicate_key
teams: {Ａ: {}, A: {}}                                   # <- duplicate_key
""",
    "references to what is not there": """
endpoints:
  chat:
    targets:
      - {provider: locl, model: m}                      # <- undefined
keys:
  - name: a
    key: "${env:APP_KEY}"
    team: reserch                                       # <- undefined
    endpoints:
      - chta                                            # <- undefined
      - locl/*                                          # <- undefined
      - local/m                                         # <- bad_choice
teams: {research: {}}
prices:
  locl/m: {input_per_mtok: 1, output_per_mtok: 1}       # <- undefined
budgets:
  - scope: {endpoint: nope}                             # <- undefined
    usd: 5
    on_exceed: {degrade: nope}                          # <- undefined
""",
    "numbers out of their bounds": """
endpoints:
  chat:
    targets:
      - {provider: local, model: m, weight: 0}          # <- bad_number
      - {provider: local, model: m, weight: -1}         # <- bad_number
      - {provider: local, model: m, weight: 1.5}        # <- bad_number
    timeouts:
      connect_s: 0                                      # <- bad_number
      idle_s: -1                                        # <- bad_number
      total_s: 1e9                                      # <- bad_number
server:
  metrics_port: 70000                                   # <- bad_number
  max_body_mb: 1e999                                    # <- bad_number
  keepalive_s: 1e9999                                   # <- wrong_type
fx: {usd_jpy: 0}                                        # <- bad_number
""",
    "prices": """
prices:
  m: {input_per_mtok: 1, output_per_mtok: 1}            # <- bad_name
  local/: {input_per_mtok: 1, output_per_mtok: 1}       # <- bad_name
  local/a: {input_per_mtok: 1}                          # <- missing
  local/b: {input_per_mtok: -1, output_per_mtok: 1}     # <- bad_number
  local/c:
    input_per_mtok: 0.0000000001                        # <- bad_number
    output_per_mtok: 2000000                            # <- bad_number
  local/d:
    input_per_mtok: 1
    output_per_mtok: 1
    size_tiers:
      - {input_per_mtok: 2}                             # <- missing
      - 5                                               # <- wrong_type
    service_tiers:
      batch: {input_per_mtok: 1}                        # <- missing
      flex: 5                                           # <- wrong_type
fx:
  usd_jpy:
    2026-13-01: 150.0                                   # <- bad_date
    2026-11-01: 0                                       # <- bad_number
unknown_price: {input_per_mtok: 1}                      # <- missing
""",
    "words that have to be chosen": """
currency: EUR                                           # <- bad_choice
language: jp                                            # <- bad_choice
log_level: warn                                         # <- bad_choice
unknown_price: forbid                                   # <- bad_choice
endpoints: {chat: {targets: [{provider: local, model: m}], log: all}}   # <- bad_choice
keys: [{name: a, key: "${env:APP_KEY}", role: root}]    # <- bad_choice
""",
    "time zones": """
timezone: JST                                           # <- bad_timezone
""",
    "a time zone that is a path": """
timezone: ../../etc/passwd                              # <- bad_timezone
""",
    "a zone that counts leap seconds": """
timezone: right/Asia/Tokyo                              # <- bad_timezone
""",
    "a zone that not every machine knows": """
timezone: posix/Asia/Tokyo                              # <- bad_timezone
""",
    "a zone that is another one on each machine": """
timezone: localtime                                     # <- bad_timezone
""",
    "a zone that is none": """
timezone: Factory                                       # <- bad_timezone
""",
    "a folder of time zones": """
timezone: Asia                                          # <- bad_timezone
""",
    "providers": """
providers:
  a: {type: openai, base_url: "ftp://x.example.com"}            # <- bad_url
  b: {type: openai, base_url: "https://u:p@x.example.com"}      # <- bad_url
  c: {type: openai, base_url: "https://x.example.com/?k=v"}     # <- bad_url
  d: {type: openai, base_url: "https://x.example.com:99999"}    # <- bad_url
  e: {type: openai, base_url: "https://exa mple.com"}           # <- bad_url
  f: {type: openai, base_url: "http://2130706433/"}             # <- bad_url
  g: {type: openai, base_url: "http://127.1/"}                  # <- bad_url
  h: {type: openai, base_url: "http://127.0.0.1:1/v1"}          # <- private_address
  i: {type: openai, base_url: "http://localhost/v1"}            # <- private_address
  j: {type: openai, base_url: "http://[::1]/v1"}                # <- private_address
  k: {type: openai, base_url: "http://[::ffff:10.0.0.1]/v1"}    # <- private_address
  l: {type: openai, base_url: "http://169.254.169.254/v1"}      # <- private_address
  m: {type: openai, base_url: "http://192.168.0.1/v1", allow_private: true}
  n: {type: opnai, base_url: "https://x.example.com"}           # <- bad_choice
  o: {type: anthropic, api_key: "${env:APP_KEY}"}               # <- unsupported
  p: {base_url: "https://x.example.com"}                        # <- missing
  q: {type: openai}                                             # <- missing
  r/s: {type: openai, base_url: "https://x.example.com"}        # <- bad_name
  t:                                                            # <- wrong_type
""",
    "headers of providers": """
providers:
  local:
    type: openai
    base_url: https://x.example.com
    headers:
      Host: a                                           # <- bad_header
      x y: a                                            # <- bad_header
      x-a: "１"                                         # <- bad_secret
      x-b: a
      X-B: b                                            # <- duplicate_key
      authorization: Bearer abc                         # <- literal_secret
      x-api-key: abc                                    # <- literal_secret
""",
    "endpoints": """
endpoints:
  none: {targets: []}                                   # <- missing
  nothing: {log: full}                                  # <- missing
  masked: {targets: [{provider: local, model: m}], mask: pii}   # <- unsupported
  a/b: {targets: [{provider: local, model: m}]}         # <- bad_name
  "*": {targets: [{provider: local, model: m}]}         # <- bad_name
  text: {targets: [local/m]}                            # <- wrong_type
  part: {targets: [{provider: local}]}                  # <- missing
""",
    "keys": """
keys:
  - {name: a, key: "${env:APP_KEY}"}
  - {name: a, key: "${env:AUDIT_KEY}"}                  # <- duplicate_name
  - {name: b, key: "${env:APP_KEY}"}                    # <- same_secret
  - {name: c}                                           # <- missing
  - {key: "${env:ADMIN_KEY}"}                           # <- missing
  - {name: d, key: "${env:SHORT}"}                      # <- short_secret
  - {name: e, key: "${env:SPACED}"}                     # <- bad_secret
  - {name: f, key: "${env:LONG1}", endpoints: []}       # <- missing
  - {name: g, key: "${env:LONG2}", expires: 30d}        # <- bad_date
  - {name: "*", key: "${env:LONG3}"}                    # <- bad_name
  - name: h
    key:                                                # <- no_value
admin: {}                                               # <- missing
""",
    "an admin key that is also a program's": """
keys:
  - {name: a, key: "${env:APP_KEY}"}
admin: {key: "${env:APP_KEY}"}                          # <- same_secret
admin_key: x                                            # <- unknown_key
""",
    "secrets and references": """
keys:
  - {name: a, key: sk-literal-literal-1}                # <- literal_secret
  - {name: b, key: $APP_KEY}                            # <- literal_secret
  - {name: c, key: "x${env:APP_KEY}"}                   # <- literal_secret
  - {name: d, key: "${APP_KEY}"}                        # <- bad_reference
  - {name: e, key: "${env:NOT_SET}"}                    # <- env_unset
  - {name: f, key: "${env:EMPTY}"}                      # <- env_empty
  - {name: g, key: "${env:not-a-name}"}                 # <- bad_reference
  - {name: h, key: "${file:nowhere.txt}"}               # <- file_missing
  - {name: i, key: "${file:.}"}                         # <- file_unreadable
  - {name: j, key: ["${env:APP_KEY}"]}                  # <- wrong_type
data_dir: "${env:UNSET_DIR}/x"                          # <- env_unset
timezone: "${env"                                       # <- bad_reference
""",
    "stores of later versions": """
state: {url: "mysql://host/0"}                          # <- unsupported
database: {url: "mysql://u:password@host/db"}           # <- unsupported
""",
    "passwords in addresses": """
state: {url: "redis://:password@host:6379/0"}           # <- literal_secret
database: {url: "postgresql://u:password@host/db"}      # <- literal_secret
""",
    "passwords in addresses of databases": """
database: {url: "postgresql://u@host/db?sslmode=require&password=word"}  # <- literal_secret
state: {url: "redis://host?db=3"}                       # <- unsupported
""",
    "passwords that are not percent-encoded": """
database: {url: "postgresql://u:${env:ODD}@host/db"}    # <- unsupported
state: {url: "redis://:${env:ODD}@host"}                # <- unsupported
""",
    "databases that would forget": """
database: {url: "sqlite:///:memory:"}                   # <- unsupported
""",
    "paths": """
data_dir: ~/data                                        # <- bad_path
server:
  tls_certificate: nowhere.pem                          # <- file_missing
  tls_key: "."                                          # <- file_unreadable
""",
    "a rate that no currency has": """
fx: {usd_jpy: 7.5e-300}                                 # <- bad_number
budgets: [{scope: {key: a}, jpy: 1}]                    # <- missing
""",
    "a rate that is none": """
fx: {usd_jpy: {}}                                       # <- no_value
""",
    "days in other spellings, which could be there twice": """
fx:
  usd_jpy:
    2026-11-01: 150
    20261101: 151                                       # <- bad_date
    2026-W45-1: 152                                     # <- bad_date
""",
    "amounts finer than money is counted": """
fx: {usd_jpy: 150}
budgets:
  - {scope: {key: a}, usd: 0.0000000001}                # <- bad_number
  - {scope: {key: b}, usd: 1e-400}                      # <- bad_number
  - {scope: {key: c}, jpy: 0.00000001}                  # <- bad_number
  - {scope: {key: d}, jpy: 1.0000000001}                # <- bad_number
""",
    "prices that are there twice": """
prices:
  local/a:
    input_per_mtok: 1
    output_per_mtok: 1
    service_tiers:
      Flex: {input_per_mtok: 1, output_per_mtok: 1}
      flex: {input_per_mtok: 2, output_per_mtok: 2}     # <- duplicate_key
    size_tiers:
      - {over_input_tokens: 10, input_per_mtok: 2}
      - {over_input_tokens: 10, input_per_mtok: 3}      # <- duplicate_key
""",
    "half of what TLS needs": """
server: {tls_key: nowhere.pem}                          # <- file_missing missing
""",
    "budgets and limits": """
budgets:
  - {scope: {team: "*"}, usd: 1, jpy: 1}                # <- missing
  - {scope: {user: "*"}}                                # <- missing
  - {scope: {}, usd: 1}                                 # <- missing
  - {usd: 1}                                            # <- missing
  - {scope: {tem: a}, usd: 1}                           # <- unknown_key missing
  - {scope: {key: k1}, usd: 0}                          # <- bad_number
  - {scope: {key: k2}, usd: 1, period: year}            # <- bad_choice
  - {scope: {key: k3}, usd: 1, on_exceed: stop}         # <- bad_choice
  - {scope: {key: k4}, jpy: 100}                        # <- missing
  - {scope: {key: k5}, usd: 1, strict: 1}               # <- wrong_type
  - {scope: {team: a, group: a}, usd: 1}                # <- duplicate_key
limits:
  - {scope: {key: k6}}                                  # <- missing
  - {scope: {key: k7}, qpm: 0}                          # <- bad_number
  - {scope: {key: k8}, tpm: 1.5}                        # <- bad_number
  - {scope: {key: k9}, qpm: 1, burst_s: 61}             # <- bad_number
  - {scope: {key: k10}, qpm: 1, wait_s: 0}              # <- bad_number
  - {scope: {key: k11}, wait_s: 1}                      # <- missing
""",
    "a currency without a rate": """
currency: JPY                                           # <- fx_missing
""",
    "yaml tags": """
timezone: !!str UTC                                     # <- yaml_tag
data_dir: !secret x                                     # <- yaml_tag
""",
    "keys that are not texts": """
[a]: b                                                  # <- wrong_type
? {a: b}                                                # <- wrong_type
: c
""",
    "full-width keys": """
ｔｉｍｅｚｏｎｅ: UTC                                    # <- unknown_key
　language: ja                                           # <- unknown_key
log_level：: debug                                       # <- unknown_key
""",
    "characters that no text has": """
data_dir: "a\\0b"                                        # <- bad_character
timezone: "\\ud800"                                      # <- bad_character bad_timezone
""",
}


@pytest.fixture
def environ() -> dict[str, str]:
    keys = {name: f"{name.lower()}-secret-0123456" for name in ("LONG1", "LONG2", "LONG3", "APP_KEY", "AUDIT_KEY")}
    return {
        **keys,
        "ADMIN_KEY": "admin-secret-0123456",
        "SHORT": "short",
        "SPACED": "a b c d e f g h i j",
        "EMPTY": "",
        "ODD": "a/b@c",
    }


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_reported_on_its_line(case: str, problems: Problems) -> None:
    text = CASES[case].lstrip("\n")
    if "providers:" not in text:
        text += _PROVIDERS if re.search("^endpoints:", text, re.MULTILINE) else _PROVIDERS + _ENDPOINTS

    found = [(problem.line, problem.code) for problem in problems(text)]

    assert sorted(found) == sorted(_expected(text))


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_said_in_japanese_too(case: str, problems: Problems) -> None:
    english, japanese = problems(CASES[case]), problems(CASES[case], language="ja")

    assert [(p.line, p.column, p.path, p.code) for p in english] == [
        (p.line, p.column, p.path, p.code) for p in japanese
    ]
    assert all(re.search("[ぁ-んァ-ン一-龯]", problem.message) for problem in japanese)


def _expected(text: str) -> list[tuple[int, str]]:
    marked = [(number, line.partition("# <-")[2]) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, code) for number, codes in marked for code in codes.split()]


def test_columns_and_paths_name_the_very_value(problems: Problems) -> None:
    text = (
        _PROVIDERS
        + "endpoints:\n  chat:\n    targets:\n      - {provider: local, model: m}\n      - {provider: locl, model: m}\n"
    )

    (problem,) = problems(text)

    assert (problem.line, problem.column) == (6, 20)
    assert problem.path == "endpoints.chat.targets[1].provider"
    assert problem.severity == "error"
    assert problem.render("sekisho.yaml") == (
        "sekisho.yaml:6:20: error: endpoints.chat.targets[1].provider: there is no provider 'locl' in this file\n"
        "    -> did you mean 'local'?"
    )


def test_names_with_other_characters_are_quoted_in_paths(problems: Problems) -> None:
    (problem,) = problems(_PROVIDERS + "prices: {local/gpt-4.1: {input_per_mtok: x, output_per_mtok: 1}}\n")

    assert problem.path == 'prices["local/gpt-4.1"].input_per_mtok'


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("timezon: UTC", "did you mean 'timezone'?"),
        ("ｔｉｍｅｚｏｎｅ: UTC", "write 'timezone' in half width"),
        ("timezone: JST", "did you mean 'Asia/Tokyo'?"),
        ("timezone: tokyo", "did you mean 'Asia/Tokyo'?"),
        ("timezone: Asia/Tokio", "did you mean 'Asia/Tokyo'?"),
        ("timezone: xyzzy", "names look like Asia/Tokyo or UTC"),
        ("server: {max_body_mb: '32'}", "remove the quotation marks"),
        ("server: {max_body_mb: ３２}", "write '32' in half width"),
        ("keys: [{name: a, key: $APP_KEY}]", "${env:APP_KEY}"),
        ("keys: [{name: a, key: '${APP_KEY}'}]", "${env:APP_KEY}"),
        ("keys: [{name: a, key: '${env:APP_KEI}'}]", "(APP_KEY is set)"),
        ("keys: [{name: a, key: '${env:APP_KEY}', on_behalf: yes}]", "write true or false"),
        ("keys: [{name: a, key: '${env:APP_KEY}', user: true}]", "quote it"),
        ("keys: [{name: a, key: '${env:APP_KEY}', endpoints: [none]}]", "none is defined under `endpoints`"),
        ("keys: [{name: a, key: '${env:APP_KEY}', endpoints: [local/m]}]", "write 'local/*'"),
        ("log_level: ｄｅｂｕｇ", "write 'debug' in half width"),
    ],
)
def test_hints_say_what_to_do(text: str, hint: str, problems: Problems) -> None:
    (problem,) = problems(_PROVIDERS + text + "\n")

    assert hint in problem.hint


def test_a_type_of_a_later_version_is_not_called_unknown(problems: Problems) -> None:
    (problem,) = problems("providers: {a: {type: anthropic}}")

    assert problem.message == "type 'anthropic' is not supported by this version"
    assert problem.hint.startswith("supported: ")
    assert "openai" in problem.hint


def test_a_duplicate_names_both_lines(problems: Problems) -> None:
    (problem,) = problems(_PROVIDERS + "timezone: UTC\nlanguage: en\ntimezone: UTC\n")

    assert "on line 2 and on line 4" in problem.message


def test_a_team_needs_no_declaration_where_none_is_declared(problems: Problems) -> None:
    text = _PROVIDERS + "keys: [{name: a, key: '${env:APP_KEY}', team: research}]\n"

    assert problems(text) == ()
    assert [problem.code for problem in problems(text + "teams: {sales: {}}\n")] == ["undefined"]


def test_wrong_and_missing_parts_do_not_hide_each_other(problems: Problems) -> None:
    text = "timezone: JST\nprovider: {}\nkeys: 3\n"

    assert [problem.code for problem in problems(text)] == ["missing", "bad_timezone", "unknown_key", "wrong_type"]


def test_control_characters_never_reach_the_terminal(problems: Problems) -> None:
    (problem,) = problems(_PROVIDERS + '"a\\e[31m": 1\n')

    assert "\x1b" not in problem.render("sekisho.yaml")
