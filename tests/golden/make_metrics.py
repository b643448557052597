"""Write metrics_words.json: tricky captions as coco-caption's tokenizer splits them.

    python tests/golden/make_metrics.py

Needs Java and pycocoevalcap 1.2, which carries Stanford CoreNLP 3.4.1. Run it from the checkout.
"""
# ruff: noqa: RUF001 - typographic quotation marks and dashes are meant

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from training.scoring.official import TOKENIZER, tokenize_officially

# Each of these is set into all the frames.
TRICKY = """
doesn't|can't|won't|isn't|shouldn't've|it's|they're|I'm|we've|he'd
she'll|let's|ain't|don’t|DON'T
cannot|gonna|wanna|gimme|lemme|gotta|'tis|'twas|more'n|y'all|c'mon
ma'am|o'clock|ol'|'em|'til|'cause
dog's|dogs'|dog’s|child's|TV's|Smith's|McDonald's|1950's|80's|'90s
girls'|boss's|bird's-eye|who's
"sale"|" sale "|'sale'|``sale''|“sale”|‘sale’|«sale»|"A. M."|"stop!"
a"b|(brown)|( brown )|[x]|{y}
t-shirt|two-year-old|African-American|black-and-white|jack-o-lantern|jack-o'lantern|X-ray|e-mail
dog - cat|dog -- cat|dog--cat|dog – cat|dog—cat|-dog|dog-|self-
10-speed|7-Eleven's|B-52|F-16s|mid-20s
black/white|and/or|w/o|his/her/their|dog / cat|AC/DC|24/7|9/11|1/2
3/4-mile|10/12/2008|refrigerator/freezer
5|-5|+5|.5|5.5|1,000|1,000,000.50|1st|22nd|3D|4x4|10k|100m|5ft|5kg
2008-2009|5-10|3.5-inch|5,000-meter
3:30|3:30pm|3:30 pm|10:00-11:00|12 a.m.|5 p.m.|#1|# 7|#23|No. 5|no. 5
Fig. 3|$5|$3.50|US$ 5|£5|€5|5¢|50%|5°
6'2"|5' tall|½ cup|2½|10×10|MP3s|iPhone|k2|Route66|route-66|H2O|2x|x2|1+1|a=b|5+
U.S.|u.s.a.|U.S.A|D.C.|S.U.V.|r.v.|Mr. Smith|Mrs. Doe|Dr. Who
St. John|Main St.|Fifth Ave.|Jan. 5|etc.
e.g. this|i.e. that|vs. them|Miami U.|John Jr.|Acme Inc.|Acme Co.
Ph.D.|J. R. Smith|J.R. Smith|La. coast|Wash. state
AT&T|R&B|B&B|M&M's|black & white|black&white|rock 'n' roll
rock'n'roll|fish'n'chips|guns n' roses|Q&A
O'Neill|O'Reilly's|D'Angelo|l'eau|d'art|Hawai'i|Qur'an|G'day|s'mores
nor'easter|runnin'|nothin'|th'
www.coke.com|coke.com|http://example.com/a?b=c|me@example.org|@home
#tag|foo_bar|_x_|a_|*star*|~5|^_^
wait...|wait ...|wait..|…|a…b|stop!|stop!!|what?|what??|what?!|no, no
no,no|a;b|a:b|dog.,|dog.)|dog .
sentence.Next|dog.The red|hello!hi|in red,blue|in red,two-year-old|bro! "|. . .|;|:|,|, .|? .
café|naïve|café's|Ünïcödé|Жук|日本|ß|£|©|®|™|°|²|m²|♥|★|→|·|•|§|¿que|¡hola|🐶|dog🐶cat|👍🏽
a b|a\tb|a  b|a\u00a0b|a\u3000b|soft\u00adhyphen|zero\u200bwidth
x > y|x < y|<b>|a\\b|=|==|+|++|%|&|&&|@|#|##|$|*|**|_|__|~|^|`|'|"|''|``|(|)|()|-|--
A man|The U.S|DOG|dOg|I|a|A|AAAAA|St|No|no|Mar|sat|sun
""".strip("\n")

FRAMES = ["a dog near {} sits", "{} is here .", "a man sees {}.", "A woman, {}, runs"]

SENTENCES = """
A dog 's owner does n't see it .
A boy in a red t-shirt , holding a sign that says , " Dont tax me bro! "
Two boys are running ; one 's smiling and being touched by the other .
A basketball player for Miami U. pushes forward .
A young baseball player in uniform getting ready to bat.,
The man can't believe it's not his; he'd rather not, wouldn't he?
there are three lambs : one white , one black , and one spotted
A MAN WEARING A "NO. 1 DAD" HAT, HIS SON'S.
man on a bike

   leading and trailing   blanks
""".strip("\n").split("\n")
SENTENCES += ["a dog\non two\r\nlines\n", "a car in '99 with a b"]

# Java looks past the end of a line for a capital, to tell a letter with a period ("b.") from the
# end of a sentence. So that no sentence depends on the next one, this line follows each of them.
BETWEEN = "and so on"


def sentences() -> list[str]:
    """Every sentence once, in order."""
    tricky = [item for line in TRICKY.split("\n") for item in line.split("|")]
    framed = [frame.format(item) for item in tricky for frame in FRAMES]
    return list(dict.fromkeys(SENTENCES + framed))


def main() -> None:
    """Split them and write the file, one sentence a line."""
    words = tokenize_officially(dict(enumerate([sentence, BETWEEN] for sentence in sentences())))
    rows = ",\n".join(
        json.dumps(
            [sentence, [word for word in words[i][0].split(" ") if word]], ensure_ascii=False
        )
        for i, sentence in enumerate(sentences())
    )
    path = Path(__file__).with_name("metrics_words.json")
    made_with = json.dumps(f"tests/golden/make_metrics.py with {TOKENIZER}, version 1.2")
    path.write_text(f'{{"made_with": {made_with},\n"sentences": [\n{rows}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
