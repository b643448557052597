"""Splitting a sentence into words as the metrics expect: Penn Treebank rules, no punctuation.

coco-caption splits with Stanford's PTBTokenizer 3.4.1, a Java program, in lower case, and drops
punctuation. `split_words` follows what that program does to English captions, down to its oddities:
`(` becomes the word `-lrb-` and is kept, `dog.,` keeps its period, `!!` is a word while `!` is not.

Known differences, all rare: smileys, telephone numbers, `C++` and HTML tags are split at more
places; an e-mail address does not swallow a comma; `1 1/2` is two words (coco-caption takes it for
one in ROUGE-L, for two elsewhere); a single letter keeps its period at the end of a sentence, where
Java looks at how the next one starts, even that of another image.

PTB rules are made for English. A sentence with a letter of Hebrew, Arabic, the writings of India or
of Asia is split at all that is no letter, mark or digit. Chinese, Japanese and Thai have no spaces
between words and no two programs agree on them, so each character is a word, as in SacreBLEU's
`zh`; such scores compare only with scores by characters.

Why not NLTK's Treebank tokenizer: it differs from Java on 364 of the 1,277 sentences under
tests/golden (this: on 1, and 5 in Chinese), keeps the period of every sentence but a caption's
last, and is slower.
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
_L = r"[^\W_²³¹¼½¾⅐-⅞]"  # a letter or a digit
_A = r"['’]"  # an apostrophe
_END = rf"(?!{_L})"  # here a word ends
_FREE = r"(?!['’-]?\w)"  # here it ends with nothing joined to it
_PART = rf"(?:[dol]{_A}(?={_L}{_L}))?{_L}+"  # of a hyphenated word: o'lantern

# The first rule that fits wins, so the order matters. Case is ignored unless (?-i: says otherwise.
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
    # Java writes brackets as -LRB- and so on. coco-caption means to drop those, but asks for lower
    # case and looks for capitals, so they stay in as words.
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
# Hebrew, Arabic, the writings of India, and all of Asia up to Korea; PTB knows none of them.
_OTHER = re.compile(
    "[\u0590-\u10ff\u1100-\u1dbf\u2e80-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc"
    "\U00020000-\U0003ffff]"
)
_JOINERS = "\u200c\u200d"  # inside words of Persian and of India
_SOFT_HYPHEN = "\u00ad"
_LAST_KNOWN = "\uffff"  # Java drops emoji and the like, which lie beyond


def split_words(sentence: str) -> list[str]:
    """Split a sentence into lower-case words, without punctuation; line breaks are spaces."""
    if _OTHER.search(sentence):
        return _split_other(sentence)
    text = sentence.replace(_SOFT_HYPHEN, "")
    text = _ENTITY.sub(lambda entity: _ENTITIES[entity[0]], text)
    tokens = [token.lower() for token in _TOKEN.findall(text) if token not in _PUNCTUATION]
    return [_SPELLINGS.get(token, token) for token in tokens if token <= _LAST_KNOWN]


def _split_other(sentence: str) -> list[str]:
    """Split at all that is no letter, mark or digit, and at every letter of Chinese and such."""
    words: list[str] = []
    going_on, last = False, ""  # whether a word may still grow, and its last letter
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
