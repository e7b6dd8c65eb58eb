"""What `monitoring` says, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from typing import Final

from sekisho.app.settings.messages import Say

OTHERS = Say(
    "exists",
    "{files}: there already, with other content; nothing was written",
    "{files} はすでにあり、内容が違います。何も書き込みませんでした。",
    "give another folder, or --force to overwrite",
    "別のフォルダーを指定するか、上書きするなら --force を付けてください。",
)
UNWRITABLE = Say("unwritable", "{path} cannot be written: {error}", "{path} に書き込めません: {error}")
UNREADABLE = Say("unreadable", "{path} cannot be read: {error}", "{path} を読み取れません: {error}")
WROTE = Say("", "Wrote {files} into {folder}.", "{folder} に {files} を書きました。")
UNCHANGED = Say("", "The files in {folder} are these already.", "{folder} のファイルはすでに同じ内容です。")
STEPS: Final = Say(
    "",
    "Two steps are left:\n"
    "  1. Prometheus:  prometheus --config.file={prometheus}\n"
    "                  or, where it runs already, add {rules} to its rule_files and the job of {prometheus}\n"
    "  2. Grafana:     Dashboards > New > Import, once for each: {dashboards}",
    "次の 2 つで使えます。\n"
    "  1. Prometheus:  prometheus --config.file={prometheus}\n"
    "                  すでに動いていれば、rule_files に {rules} を、さらに {prometheus} のジョブを加える\n"
    "  2. Grafana:     「Dashboards」>「New」>「Import」で 1 つずつ読み込む: {dashboards}",
)
