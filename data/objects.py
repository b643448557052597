"""COCO's 80 object categories in captions: which words name which object.

The word lists are our own, collected from captions of COCO and Flickr8k; docs/scores.md describes
how they differ from those of Rohrbach et al. 2018 (arXiv:1809.02156). Words that often name
something else, such as "plant", "glass", "board" or the colour "orange", are left out or need
context.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

OTHER_WORDS = {
    "person": "man, woman, boy, girl, child, kid, baby, toddler, infant, people, lady, gentleman, "
    "guy, male, female, adult, teenager, teen, youth, youngster, individual, someone, "
    "somebody, mother, mom, father, dad, parent, grandmother, grandma, granny, "
    "grandfather, grandpa, son, daughter, brother, sister, sibling, husband, wife, bride, "
    "groom, friend, neighbor, guest, owner, customer, player, catcher, batter, pitcher, "
    "hitter, baseman, umpire, referee, coach, athlete, opponent, teammate, cheerleader, "
    "surfer, skier, skateboarder, snowboarder, skater, rollerblader, wakeboarder, "
    "windsurfer, kiteboarder, boarder, swimmer, diver, sunbather, runner, jogger, "
    "sprinter, hiker, climber, biker, cyclist, bicyclist, motorcyclist, rider, racer, "
    "driver, jockey, equestrian, passenger, commuter, pedestrian, traveler, tourist, "
    "visitor, spectator, onlooker, bystander, worker, employee, farmer, fisherman, "
    "vendor, waiter, waitress, bartender, chef, baker, butcher, policeman, policewoman, "
    "officer, cop, fireman, firefighter, soldier, sailor, pilot, guard, cowboy, student, "
    "teacher, doctor, nurse, businessman, performer, dancer, singer, musician, guitarist, "
    "drummer, artist, painter, photographer, actor, clown, gymnast, wrestler, acrobat, "
    "hipster, ball player, bus driver, taxi driver, truck driver, train driver",
    "bicycle": "bike, tricycle",
    "car": "automobile, sedan, suv, taxi, cab, minivan, van, jeep, convertible, limo, limousine, "
    "hatchback",
    "motorcycle": "motorbike, motor bike, motor cycle, dirt bike, dirtbike, quad bike, moped, "
    "vespa, motor scooter, scooter",
    "airplane": "plane, aeroplane, aircraft, jet, jetliner, airliner, biplane, seaplane, airbus, "
    "air plane",
    "bus": "minibus, schoolbus, double decker, coach bus",
    "train": "locomotive, tram, streetcar, trolley, monorail, street car, cable car, train car, "
    "rail car",
    "truck": "lorry, pickup, firetruck, fire engine",
    "boat": "ship, sailboat, canoe, kayak, yacht, ferry, rowboat, motorboat, speedboat, gondola, "
    "barge, dinghy, catamaran, tugboat",
    "traffic light": "traffic signal, stoplight, stop light, trafficlight",
    "fire hydrant": "hydrant",
    "stop sign": "",
    "parking meter": "meter",
    "bench": "pew",
    "bird": "seagull, gull, pigeon, duck, duckling, goose, geese, gosling, swan, parrot, "
    "parakeet, owl, eagle, hawk, falcon, vulture, peacock, ostrich, crow, raven, pelican, "
    "heron, flamingo, sparrow, penguin, rooster, toucan, stork, mallard, robin, "
    "hummingbird, woodpecker, cockatoo, dove",
    "cat": "kitten, kitty, tabby, feline",
    "dog": "puppy, pup, doggy, canine, hound, poodle, terrier, retriever, labrador, collie, "
    "bulldog, dalmatian, husky, corgi, dachshund, chihuahua, beagle, spaniel, greyhound, "
    "sheepdog, rottweiler, pug, boxer, mutt, german shepherd, sheep dog",
    "horse": "pony, colt, mare, stallion, foal",
    "sheep": "lamb, ram, ewe, goat",
    "cow": "cattle, bull, calf, ox, oxen, bison, buffalo, heifer",
    "elephant": "",
    "bear": "panda, polar bear",
    "zebra": "",
    "giraffe": "",
    "backpack": "knapsack, rucksack",
    "umbrella": "parasol",
    "handbag": "purse, hand bag",
    "tie": "necktie, bowtie, bow tie",
    "suitcase": "luggage, baggage, suit case",
    "frisbee": "frisbe, frisby, flying disc, flying disk",
    "skis": "ski, skiis",
    "snowboard": "snow board",
    "sports ball": "ball",
    "kite": "",
    "baseball bat": "bat",
    "baseball glove": "mitt, baseball mitt, catcher's mitt",
    "skateboard": "skate board, longboard",
    "surfboard": "surf board",
    "tennis racket": "racket, racquet, tennis racquet",
    "bottle": "",
    "wine glass": "wineglass",
    "cup": "mug, teacup",
    "fork": "",
    "knife": "",
    "spoon": "",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger, hamburger, cheeseburger, panini",
    "orange": "tangerine",
    "broccoli": "",
    "carrot": "",
    "hot dog": "hotdog, frankfurter",
    "pizza": "",
    "donut": "doughnut",
    "cake": "cupcake, cheesecake, carrot cake",
    "chair": "armchair, stool, recliner, highchair",
    "couch": "sofa, loveseat, futon",
    "potted plant": "houseplant",
    "bed": "",
    "dining table": "table",
    "toilet": "urinal, commode",
    "tv": "television, televison, monitor",
    "laptop": "macbook, netbook",
    "mouse": "computer mouse",
    "remote": "remote control, remote controller, wii controller, game controller, wiimote",
    "keyboard": "",
    "cell phone": "cellphone, smartphone, iphone, phone, mobile phone",
    "microwave": "microwave oven",
    "oven": "stove, stovetop",
    "toaster": "toaster oven",
    "sink": "",
    "refrigerator": "fridge",
    "book": "",
    "clock": "alarm clock",
    "vase": "",
    "scissors": "",
    "teddy bear": "teddy, stuffed bear",
    "hair drier": "hairdryer, hair dryer, blow dryer",
    "toothbrush": "tooth brush",
}
"""COCO's 80 objects and their synonyms, separated by commas."""

_COMPOUNDS = (
    "train track, train station, bus stop, bus station, boat dock, boat house, bird house, "
    "bird bath, bird cage, bird feeder, dog house, cat food, dog food, horse trailer, bike "
    "rack, bike path, bike lane, bike trail, bike helmet, motorcycle helmet, car park, "
    "parking lot, ski lift, ski slope, ski pole, ski resort, ski lodge, ski jump, ski mask, "
    "ski goggles, ski gear, ski suit, ski boots, ski trail, book shelf, book case, book "
    "store, bottle opener, cup holder, toilet paper, toilet brush, bed sheet, bed spread, "
    "flower bed, truck bed, bed of, table cloth, table tennis, oven mitt, pizza box, pizza "
    "cutter, pizza place, apple juice, apple pie, orange juice, orange tree, banana split, "
    "remote area, remote location, remote place, remote island, remote beach, remote road, "
    "tie dye, phone booth, visitor center, phone pole, mouse pad, mouse trap, bear hug, ball "
    "game, ball field, ball park, chair lift"
)
"""Compounds that contain an object's name but do not name the object."""

_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "policeman": "policemen",
    "policewoman": "policewomen",
    "fireman": "firemen",
    "fisherman": "fishermen",
    "businessman": "businessmen",
    "baseman": "basemen",
    "calf": "calves",
}

_OFFSPRING = {"baby", "babies", "kid", "mother", "father", "parent", "adult", "male", "female"}
"""Words for people that name an animal when close to one."""
_ANIMALS = {"bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"}
_BEFORE_ANIMAL, _AFTER_ANIMAL = 2, 3
"""Maximum distance in words of such a word before or after the animal."""
_ENDS_A_NOUN = frozenset(
    [
        "",
        "and",
        "or",
        "on",
        "in",
        "with",
        "at",
        "by",
        "to",
        "of",
        "for",
        "next",
        "near",
        "is",
        "are",
    ]
)
"""What may follow the fruit; a noun follows the colour."""
_DETERMINERS = {"a", "an", "one", "the", "another", "half", "single", "whole", "sliced", "peeled"}


class Mention(NamedTuple):
    """An object named in a caption."""

    first: int
    """Index of its first word in `text.split()`."""
    words: int
    """Number of words."""
    name: str
    """The object, by its COCO name."""


class Names(Protocol):
    """Finds what captions name."""

    def find(self, text: str) -> list[Mention]:
        """Return what a caption names, in order."""

    def known_from(self, text: str) -> set[str]:
        """Return every name that may be used of a photo with this reference."""


class ObjectWords:
    """Finds the objects that captions name.

    Args:
        names: object categories, such as COCO's; each matches its name, plural and synonyms.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[tuple[str, ...], str | None] = {}
        for compound in _COMPOUNDS.split(", "):
            self._names |= dict.fromkeys(_with_plurals(compound))
        for name in names:
            forms = [name, *filter(None, OTHER_WORDS.get(name, "").split(", "))]
            for form in forms:
                self._names |= dict.fromkeys(_with_plurals(form), name)
        self._longest = max(map(len, self._names))

    def find(self, text: str) -> list[Mention]:
        """Return the objects in order; the longest match wins, so "hot dog" is not a dog."""
        words = [plain(word) for word in text.split()]
        found = []
        first = 0
        while first < len(words):
            for count in range(min(self._longest, len(words) - first), 0, -1):
                named = tuple(words[first : first + count])
                if named in self._names:
                    name = self._names[named]
                    if name is not None and not (named == ("orange",) and _is_colour(words, first)):
                        found.append(Mention(first, count, name))
                    first += count - 1
                    break
            first += 1
        return [own for own in found if not _is_offspring(own, words, found)]

    def known_from(self, text: str) -> set[str]:
        """Return the objects that a reference names."""
        return {mention.name for mention in self.find(text)}


def plain(word: str) -> str:
    """Strip punctuation, 's and capitals from a word of `text.split()`."""
    return word.strip(".,;:!?\"'()").lower().removesuffix("'s")


def _with_plurals(name: str) -> list[tuple[str, ...]]:
    *before, last = name.split()
    if last in _IRREGULAR:
        forms = [last, _IRREGULAR[last]]
    else:
        forms = [last, f"{last}s", f"{last}es", f"{last[:-1]}ies" if last.endswith("y") else last]
    return [(*before, form) for form in dict.fromkeys(forms)]


def _is_colour(words: Sequence[str], place: int) -> bool:
    """Whether "orange" is a colour, as in "an orange shirt" or "dressed in orange"."""
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    return before not in _DETERMINERS or after not in _ENDS_A_NOUN


def _is_offspring(mention: Mention, words: Sequence[str], found: Sequence[Mention]) -> bool:
    """Whether the word names an animal, as "baby" in "a baby elephant"."""
    if words[mention.first] not in _OFFSPRING:
        return False
    return any(
        other.name in _ANIMALS and -_AFTER_ANIMAL <= other.first - mention.first <= _BEFORE_ANIMAL
        for other in found
    )
