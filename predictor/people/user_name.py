"""What a person may be called; to ask it takes no model."""

from predictor.error_messages import readable


def check_name(user_id: str) -> None:
    """Refuse a name that `steer-batch --users` takes for something else than one user.

    Raises
    ------
    ValueError
        It is empty or no text, has a comma or spaces at its ends, or is an expression.
    """
    if readable(user_id) != user_id:
        raise ValueError(f"--user must be text in UTF-8, got {readable(user_id)!r}; name the new person otherwise")
    if (
        user_id in ("", "*", "all")
        or user_id != user_id.strip()
        or "," in user_id
        or user_id.startswith(("group:", "@"))
    ):
        raise ValueError(
            f"--user must be a name for the new person, got {user_id!r}; names have no comma and no space at "
            "their ends, and are not *, all, group:… or @…, which mean somebody else to steer-batch"
        )
