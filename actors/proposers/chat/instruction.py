"""The instruction of a language model: a template with two placeholders, after the paper's appendix B.2.

`{descriptions}` is replaced by the best prompt so far, after its score if it has one: "0.58: a cat, soft light".
`{requested_number}` is replaced by the number of variations. All other braces, also those in prompts, are plain text.
"""

from pathlib import Path

from actors.messages import ProposalRequest

PLACEHOLDERS = ("{descriptions}", "{requested_number}")
_SHIPPED = Path(__file__).with_name("instruction.txt")


def load_instruction(path: str | None) -> str:
    """Read the template from a file; None: the one in this package.

    Raises
    ------
    ValueError
        The file cannot be read, is not UTF-8, or lacks a placeholder.
    """
    file = _SHIPPED if path is None else Path(path)
    try:
        template = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"instruction {file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"instruction {str(file)!r}: {reason}; give a text file, or leave it out") from error
    missing = [placeholder for placeholder in PLACEHOLDERS if placeholder not in template]
    if missing:
        raise ValueError(f"instruction {file}: lacks {' and '.join(missing)}; write it where the value belongs")
    return template


def fill(template: str, request: ProposalRequest) -> str:
    """Put a request into a template.

    Example:

        fill("{requested_number} like {descriptions}", request) == "20 like 0.58: a cat, soft light"
    """
    score = "" if request.best_score is None else f"{request.best_score:.2f}: "
    description = f"{score}{request.best_prompt}"
    # The prompt last, because it may contain the other placeholder.
    return template.replace("{requested_number}", str(request.count)).replace("{descriptions}", description)
