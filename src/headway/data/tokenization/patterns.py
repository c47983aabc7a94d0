"""Regular expressions that tokenizers hold. Packages are read with these alone, so a former one is kept when one changes."""

#: Combining marks of these scripts only: in others, such as Thai, Devanagari or Japanese, marks are vowels or other letters.
ACCENTS = r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}])\p{Mn}+"
#: A word, a number or a run of symbols, each with the space before it. Combining marks belong to words.
WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+| +"
SPACES = " {2,}"
