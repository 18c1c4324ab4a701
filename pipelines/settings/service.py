"""Checks that settings of a service hold no password and no key, because settings are written to run.json."""

from urllib.parse import urlsplit


def secretless(url: str, *, variable: str) -> str:
    """The address of a service, without a slash at its end; `variable` is the setting that names its key.

    Raises
    ------
    ValueError
        It is no http address, or holds a user, a password or a query.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://api.openai.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"must hold no user, password or query; name the key's variable in {variable}")
    return url.rstrip("/")


def variable_name(name: str | None) -> str | None:
    """The name of an environment variable.

    Raises
    ------
    ValueError
        It cannot be one. It is not shown: it may be the key itself.
    """
    if name is not None and not (name.isidentifier() and name.isascii()):
        raise ValueError("must be the name of an environment variable, such as OPENAI_API_KEY, not the key")
    return name
