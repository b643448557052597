"""Tokenizer of the metrics: Penn Treebank rules, lower case, no punctuation.

coco-caption uses Stanford's PTBTokenizer 3.4.1, a Java program, and drops punctuation.
`split_words` reproduces what that program does to English captions, oddities included: `(` becomes
the word `-lrb-` and is kept, `dog.,` keeps its period, `!!` is a word while `!` is not.

Known differences, all rare: smileys, telephone numbers, `C++` and HTML tags are split in more
places; an e-mail address does not swallow a comma; `1 1/2` is two words (coco-caption counts it as
one in ROUGE-L, as two elsewhere); a single letter keeps its period at the end of a sentence, where
Java looks at the start of the next one, even that of another image.

PTB rules are made for English. A sentence with a letter of a Hebrew, Arabic, Indic or East Asian
script is split at everything that is not a letter, mark or digit. Chinese, Japanese and Thai have
no spaces between words, and no two programs agree on them, so each character is a word, as in
SacreBLEU's `zh`; such scores compare only with other character-level scores.

NLTK's Treebank tokenizer is no alternative: it differs from Java on 364 of the 1,277 sentences
under tests/golden (this one: on 1, and 5 in Chinese), keeps the period of every sentence but a
caption's last, and is slower.
"""
# ruff: noqa: RUF001 - typographic quotation marks and dashes are meant

import re
import unicodedata

from captioner.words.writing import is_unspaced

# Abbreviations that keep their period: always, only when capitalised, only before a number.
_ALWAYS = (
    "adj|adm|adv|al|ala|alex|apr|ariz|assn|assoc|asst|atty|aug|ave|bldg|blvd|brig|bros|calif|capt|"
    "cf|cmdr|col?|colo|comdr|conn|corp|cos|cpl|ct|dec|dept|drs?|elec|ens|esq|est|etc|ext|feb|fla|"
    "fri|ft|ga|gen|gov|hon|inc|ind|insp|intl|jan|jos|jr|jul|jun|kans?|ky|lieut|lt|ltd|maj|mar|md|"
    "messrs|mfg|mich|minn|mlle|mme|mon?|mont|mrs?|ms|mt|natl|neb|nev|nov|oct|okla|penn|pfc|ph\\.d|"
    "plc|pres|prof|pte|pty|pvt|rd|rep|rev|rt|sen|sept?|seq|sgt|spc|sq|sr|st|supt|sys|tel|tenn|"
    "thu|thurs|treas|tue|tues|univ|va|vs|vt|wed|wisc?|wm|wyo"
)
_CAPITALISED = "Ark|AZ|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
_BEFORE_NUMBER = "art|ca|figs?|nos?|op|pp"

_LETTER = r"[^\W\d_²³¹¼½¾⅐-⅞]"
_L = r"[^\W_²³¹¼½¾⅐-⅞]"  # letter or digit
_A = r"['’]"  # apostrophe
_END = rf"(?!{_L})"  # end of a word
_FREE = r"(?!['’-]?\w)"  # end of a word, nothing attached
_PART = rf"(?:[dol]{_A}(?={_L}{_L}))?{_L}+"  # part of a hyphenated word: o'lantern

# The first rule that matches wins, so order matters. Case is ignored except in (?-i:...).
_TOKEN = re.compile(
    rf"""
    # One word that is two: can|not, gon|na, 't|is
      can(?=not{_FREE}) | (?:gon|wan)(?=na{_FREE}) | got(?=ta{_FREE}) | (?:gim|lem)(?=me{_FREE})
    | 't(?=(?:is|was){_END})

    | {_LETTER}+(?!\S)                    # plain words; later rules would do, slower

    | https?://[^\s"<>|()]*[^\s"<>|().,?!:;-]
    | [\w.+-]{{,63}}\w@\w[\w-]*(?:\.[\w-]+)*                              # name@example.com
    | [@\#]{_LETTER}\w*                                                   # @name, #tag
    | </?[a-z][^\s<>]*>                                                   # <b>

    # Endings: do|n't, dog|'s
    | {_L}+?(?:-{_L}+?)*(?=n{_A}t{_END})
    | n{_A}t{_END}
    | {_A}(?:s|m|d|re|ve|ll){_END}

    # An apostrophe inside a word, or in place of letters
    | (?:ol|somethin|dunkin|[ldj](?!{_A}{_L}{_L})|[jy](?={_A}{_L}{_L})){_A}
    | {_A}(?:em|till?|cause|\d0s){_END} | {_A}\d\d(?!\S) | 'n(?:{_A}|(?!\S))
    | (?:c'mon|s'mores|c'est|qu'il|nor'easter){_END}
    | (?-i:[A-CE-HJKMNP-XZn]{_A}{_L}{{2,}})                               # G'day
    | {_LETTER}*[aeiouy]{_A}[aeiou]{_LETTER}*                             # Hawai'i, ma'am

    # Abbreviations keep their period, and so does any word before another stop
    | [a-z](?:\.[a-z])*\.{_END}
    | (?:{_ALWAYS})\.{_END} | (?-i:{_CAPITALISED})\.{_END} | (?:{_BEFORE_NUMBER})\.(?=\s*\d)
    | {_L}+\.(?=[,;:])

    | (?-i:[A-Z]+(?:[+&][A-Z]+)+)                                         # AT&T
    | \d+-\d+/\d+                                                         # 1-1/2
    | {_L}+[.,]{_L}+(?:-{_L}+)+                                            # 3.5-inch
    | [a-z\d]+(?:-[a-z]+){{,2}}(?:/[a-z\d]+(?:-[a-z]+){{,2}}){{1,2}}      # and/or, 1/2
    | [+-]?\d*(?:[.,:]\d+)+ | [+-]\d+{_END}                                # 1,000 3:30 .5 -5
    | (?-i:[A-Z]+\$)                                                      # US$

    | {_LETTER}{_L}*(?:[.!?]{_LETTER}{_L}*)+                              # sentence.Next
    | {_PART}(?:[-_\u2010\u2011]{_PART})*                                 # t-shirt, 4x4
    | [?!]{{2,}} | _+ | \*+ | \#+ | \^_\^ | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)

_PUNCTUATION = frozenset("'\"`‘’“”‚«»‹›.?!,:;-–—…\u200b\ufeff")
_SPELLINGS = {
    # Java writes brackets as -LRB- and so on. coco-caption means to drop those, but searches for
    # capitals in lower-cased text, so they stay.
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    "¼": "1/4",
    "½": "1/2",
    "¾": "3/4",
    "n’t": "n't",
    **{f"’{ending}": f"'{ending}" for ending in ("s", "m", "d", "re", "ve", "ll")},
}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&nbsp;": " "}
_ENTITY = re.compile("|".join(_ENTITIES))
# Hebrew, Arabic, Indic and East Asian scripts, unknown to PTB.
_OTHER = re.compile(
    "[\u0590-\u10ff\u1100-\u1dbf\u2e80-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc"
    "\U00020000-\U0003ffff]"
)
_JOINERS = "\u200c\u200d"  # inside words of Persian and Indic languages
_SOFT_HYPHEN = "\u00ad"
_LAST_KNOWN = "\uffff"  # Java drops characters beyond it, such as emoji


def split_words(sentence: str) -> list[str]:
    """Split a sentence into lower-case words without punctuation."""
    if _OTHER.search(sentence):
        return _split_other(sentence)
    text = sentence.replace(_SOFT_HYPHEN, "")
    text = _ENTITY.sub(lambda entity: _ENTITIES[entity[0]], text)
    tokens = [token.lower() for token in _TOKEN.findall(text) if token not in _PUNCTUATION]
    return [_SPELLINGS.get(token, token) for token in tokens if token <= _LAST_KNOWN]


def _split_other(sentence: str) -> list[str]:
    """Split at all but letters, marks and digits; each character of Chinese is a word."""
    words: list[str] = []
    going_on, last = False, ""  # whether the current word may grow, and its last letter
    for character in unicodedata.normalize("NFC", sentence).lower():
        kind = unicodedata.category(character)[0]
        if (kind == "M" or character in _JOINERS) and going_on:
            words[-1] += character
        elif kind in "LN":
            if going_on and not (is_unspaced(character) or is_unspaced(last)):
                words[-1] += character
            else:
                words.append(character)
            going_on, last = True, character
        else:
            going_on = False
    return words
