"""Regular expressions for HTML markup, shared by tokenization, duplicate detection and validation."""

# Only names of HTML elements: <sigh> and <john> are part of the text.
_ELEMENTS = (
    "abbr|a|big|blockquote|body|br|b|button|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6]|header|head|"
    "hr|html|iframe|img|input|ins|i|label|link|li|main|meta|nav|ol|option|pre|p|q|script|section|select|small|span|strike|"
    "strong|style|sub|sup|svg|s|table|tbody|td|textarea|tfoot|thead|th|title|tr|tt|ul|u|video|wbr"
)
# Attributes need a value: "a <b and c> d" is not a tag. Every repetition is bounded or atomic, because the tokenizers library
# aborts when an expression backtracks too often.
_ATTRIBUTE = r"""(?>\s{1,9})(?>[-\w:]{1,40}\s{0,9})=(?>\s{0,9})(?>"[^"<>]{0,2000}"|'[^'<>]{0,2000}'|[^\s"'<>]{1,2000})"""
_TAG = rf"(?i:</?(?:{_ELEMENTS})(?>(?:{_ATTRIBUTE}){{0,30}})(?>\s{{0,9}})/?>)"
_COMMENT = "<!--[^<>]{0,5000}-->"
_ENTITY = r"&(?:amp;){0,3}(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8}\d{0,2});"
#: Tags, comments and entities, for engines that support atomic groups.
MARKUP = rf"{_TAG}|{_COMMENT}|{_ENTITY}"
#: Almost the same for engines such as RE2, which support no atomic groups but run in linear time.
LINEAR_MARKUP = rf"(?i:</?(?:{_ELEMENTS})(?:\s+[-\w:]+=[^<>]*|\s*)/?>)|<!--[^<>]*-->|{_ENTITY}"
