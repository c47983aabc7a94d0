"""What counts as markup in a text, in one place: for the tokenizer, for what makes copies equal, and for empty texts."""

# Names of elements, since <sigh> or <john> is something said.
_ELEMENTS = (
    "abbr|a|big|blockquote|body|br|b|button|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6]|header|head|"
    "hr|html|iframe|img|input|ins|i|label|link|li|main|meta|nav|ol|option|pre|p|q|script|section|select|small|span|strike|"
    "strong|style|sub|sup|svg|s|table|tbody|td|textarea|tfoot|thead|th|title|tr|tt|ul|u|video|wbr"
)
# Attributes have values, since a <b and c> d is no tag. Every part is bounded or never tried shorter: the tokenizers library
# aborts when a text makes an expression try too often.
_ATTRIBUTE = r"""(?>\s{1,9})(?>[-\w:]{1,40}\s{0,9})=(?>\s{0,9})(?>"[^"<>]{0,2000}"|'[^'<>]{0,2000}'|[^\s"'<>]{1,2000})"""
_TAG = rf"(?i:</?(?:{_ELEMENTS})(?>(?:{_ATTRIBUTE}){{0,30}})(?>\s{{0,9}})/?>)"
_COMMENT = "<!--[^<>]{0,5000}-->"
_ENTITY = r"&(?:amp;){0,3}(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8}\d{0,2});"
#: Tags, comments and entities, for expressions with atomic groups.
MARKUP = rf"{_TAG}|{_COMMENT}|{_ENTITY}"
#: Nearly the same, for engines that know no atomic groups and run in linear time anyhow.
LINEAR_MARKUP = rf"(?i:</?(?:{_ELEMENTS})(?:\s+[-\w:]+=[^<>]*|\s*)/?>)|<!--[^<>]*-->|{_ENTITY}"
