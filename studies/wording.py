"""What participants read where the researcher chose no words of their own.

These sentences are kept in English in study.json, and shown in the participant's language; a researcher's own words are
shown as they are.
"""


def message(text: str) -> str:
    """Mark a sentence that participants read, for the catalogues of translations (`make messages` collects them)."""
    return text


TITLE = message("Which images do you like?")
PAIRS_QUESTION = message("Which image do you prefer?")
RATING_QUESTION = message("How beautiful is this image – how much do you like it, and how drawn are you to it?")

DEVELOPED = message("The images you will see are photographs that a computer program has changed.")
"""What the embedded preset's renderer does."""

GENERATED = message(
    "The images you will see were generated or altered by artificial intelligence. They do not show real events."
)

CHOSEN = message("The people behind this study have chosen the images you will see; ask them where they come from.")
"""Of a folder of images nothing else is known."""

ANCHORS = (message("bad"), message("poor"), message("fair"), message("good"), message("excellent"))
"""At 0, 25, 50, 75 and 100 on the slider of a rating study (paper, B.1)."""
