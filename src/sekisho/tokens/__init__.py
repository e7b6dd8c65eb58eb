"""How many tokens a text, a request or an answer is, before or without the provider's own count.

In: texts, the JSON members of a request, pieces of a stream, and the counts that providers report.
Out: estimates by kind of text, and what one model's counts taught us about them; exact counts where `sekisho[tokens]`
is installed.
May import: domain, formats. No I/O, no clock; `rs_bpe` only in `exact`.
Tests: tests/unit/tokens, against exact counts of texts that lie beside them.
"""
