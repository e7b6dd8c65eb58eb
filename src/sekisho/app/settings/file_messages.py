"""What is said about a file as a whole and about its YAML, in English and Japanese. Must stay text."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

# The file itself
NO_FILE = Say(
    "no_file",
    "there is no such file",
    "ファイルがありません。",
    "write one with `sekisho init --path {name}`",
    "`sekisho init --path {name}` で作れます。",
)
UNREADABLE = Say(
    "unreadable",
    "the file cannot be read: {reason}",
    "ファイルを読めません: {reason}",
    "it has to be a text file of at most 4 MB that this user may read",
    "このユーザーが読める 4 MB 以下のテキストファイルにしてください。",
)
NOT_UTF8 = Say(
    "not_utf8",
    "the file is not UTF-8 (it looks like {encoding})",
    "ファイルが UTF-8 ではありません（{encoding} のようです）。",
    "save it as UTF-8",
    "UTF-8 で保存し直してください。",
)
EMPTY = Say(
    "empty",
    "the configuration is empty",
    "設定が空です。",
    "`sekisho init` writes one with comments to start from",
    "`sekisho init` で、コメント付きのひな形を作れます。",
)
NOT_A_MAPPING_FILE = Say(
    "wrong_type",
    "a configuration is a mapping of keys such as `providers:`",
    "設定は `providers:` のようなキーの並びで書きます。",
    "`sekisho init` writes one with comments to start from",
    "`sekisho init` で、コメント付きのひな形を作れます。",
)

# YAML
YAML_SYNTAX = Say("yaml", "this is not valid YAML", "YAML として読めません。")
YAML_COLON = Say(
    "yaml",
    "a key cannot stand here",
    "ここにはキーを書けません。",
    "indent the line like its neighbours, and quote a text that holds ': '",
    "行の字下げを前後とそろえ、': ' を含む文字列は引用符で囲んでください。",
)
YAML_NO_COLON = Say(
    "yaml",
    "this line lacks a ':' after its key",
    "この行のキーの後に ':' がありません。",
    "write `key: value`, with a half-width colon and a space",
    "半角のコロンと空白を使い、`キー: 値` の形で書いてください。",
)
YAML_TAB = Say(
    "yaml",
    "a tab stands where YAML allows spaces only",
    "タブは使えません。",
    "indent with spaces",
    "字下げには空白を使ってください。",
)
YAML_CHARACTER = Say(
    "yaml",
    "a value cannot start with this character",
    "値をこの文字で始めることはできません。",
    "put the value between quotation marks",
    "値を引用符で囲んでください。",
)
YAML_BRACKET = Say(
    "yaml",
    "the bracket opened on line {other} is not closed properly here",
    "{other} 行目で開いた括弧が、ここで正しく閉じられていません。",
    "check the commas and the closing bracket",
    "カンマと閉じ括弧を確かめてください。",
)
YAML_QUOTE = Say(
    "yaml",
    "the quotation mark opened here is not closed",
    "ここで開いた引用符が閉じられていません。",
    "close it on the same line",
    "同じ行で閉じてください。",
)
YAML_INDENT = Say(
    "yaml",
    "the indentation does not fit the lines above",
    "字下げが上の行と合っていません。",
    "keys of one mapping start in the same column",
    "同じ階層のキーは同じ桁から書いてください。",
)
YAML_ALIAS = Say(
    "yaml",
    "'*' and '&' begin an alias or anchor here, and it is not defined or defined twice",
    "'*' と '&' はエイリアスとアンカーの記号です。定義がないか、二重に定義されています。",
    "a text that starts with '*' or '&' needs quotation marks",
    "'*' や '&' で始まる文字列は引用符で囲んでください。",
)
YAML_DOCUMENTS = Say(
    "yaml",
    "a second document begins here",
    "ここから 2 つ目の文書が始まっています。",
    "remove the `---` line",
    "`---` の行を消してください。",
)
YAML_ESCAPE = Say(
    "yaml",
    "an unknown escape after a backslash",
    "バックスラッシュの後の文字が正しくありません。",
    "use single quotation marks, or write the backslash twice",
    "一重引用符を使うか、バックスラッシュを 2 つ書いてください。",
)
YAML_TAG = Say(
    "yaml_tag",
    "YAML tags are not allowed",
    "YAML のタグは使えません。",
    "a text that starts with '!' needs quotation marks",
    "'!' で始まる文字列は引用符で囲んでください。",
)
YAML_DEPTH = Say("yaml", "nested too deeply", "入れ子が深すぎます。")
YAML_LOOP = Say("yaml", "an alias that contains itself", "エイリアスが自分自身を含んでいます。")
YAML_SIZE = Say(
    "yaml",
    "aliases (*name) repeat more than {most} values",
    "エイリアス(*name)で繰り返される値の数が {most} を超えています。",
)
LOOKALIKE = Say(
    "full_width",
    "'{character}' (U+{code_point}) is not the character that YAML knows",
    "'{character}' (U+{code_point}) は YAML の記号ではありません。",
    "write '{name}' in half width, or put the text between quotation marks",
    "半角の '{name}' に直すか、文字列なら引用符で囲んでください。",
)
KEY_NOT_TEXT = Say("wrong_type", "a key has to be a text", "キーは文字列でなければなりません。")
