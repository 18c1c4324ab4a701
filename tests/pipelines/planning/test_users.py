from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.planning.users import Audience, resolve_users, shown_name

USERS = pa.table(
    {
        "user_id": ["u07", "u01", "u02", "zoë"],
        "age": [35, 20, 29, None],
        "country": ["BR", "DE", "BR", "O'Hare"],
    }
)


def test_all_means_everybody_in_the_order_of_the_table() -> None:
    assert resolve_users(["all"], USERS) == [person("u07"), person("u01"), person("u02"), person("zoë")]


@pytest.mark.parametrize("spec", ["u02,u07", " u02 , u07 ", "u02,,u07,"])
def test_a_list_keeps_its_own_order(spec: str) -> None:
    assert resolve_users([spec], USERS) == [person("u02"), person("u07")]


@pytest.mark.parametrize("mark, newline", [("", "\n"), ("\ufeff", "\r\n")])
def test_a_file_holds_an_id_a_line_with_comments(tmp_path: Path, mark: str, newline: str) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes((mark + newline.join(["zoë", "", " # not her: u02", "  u01 "])).encode())

    assert resolve_users([f"@{path}"], USERS) == [person("zoë"), person("u01")]


def test_a_file_that_is_missing_or_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes("zoë".encode("latin-1"))

    with pytest.raises(ValueError, match=r"users\.txt: not UTF-8 in line 1 \(byte 2: eb\)"):
        resolve_users([f"@{path}"], USERS)
    for gone in (tmp_path / "gone", tmp_path):
        with pytest.raises(ValueError, match="no such file"):
            resolve_users([f"@{gone}"], USERS)


def test_a_group_is_one_audience_of_all_its_members() -> None:
    spec = 'group:"age" >= 18 and age < 30'

    assert resolve_users([spec], USERS) == [Audience(name=spec, user_ids=("u01", "u02"))]


@pytest.mark.parametrize(
    "predicate, members",
    [
        ("true", ("u07", "u01", "u02", "zoë")),
        ("age IS NULL", ("zoë",)),
        ("country = 'O''Hare'", ("zoë",)),
        ("age = (SELECT max(a) FROM (VALUES (20), (29)) t(a))", ("u02",)),
        ("age < 25 -- only the young", ("u01",)),
    ],
)
def test_a_group_takes_any_predicate_over_the_table(predicate: str, members: tuple[str, ...]) -> None:
    ((_, found),) = [(audience.name, audience.user_ids) for audience in resolve_users([f"group:{predicate}"], USERS)]

    assert found == members


@pytest.mark.parametrize(
    "spec, suggestion", [("u1", "such as u01"), ("zoe", "such as zoë"), ("ALL", "such as u07, u01, u02")]
)
def test_an_unknown_user_is_refused_with_users_that_there_are(spec: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"unknown user '{spec}'; the predictor knows 4, {suggestion}"):
        resolve_users([f"u02,{spec}"], USERS)


def test_a_user_who_is_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("u01\nu02\nu01\n")

    for spec in ("u01,u02, u01", f"@{tmp_path / 'users.txt'}"):
        with pytest.raises(ValueError, match="user 'u01' is named twice"):
            resolve_users([spec], USERS)


def test_several_specifications_keep_their_order_and_may_mix_persons_and_groups() -> None:
    young, old = (
        Audience(name="group:age < 30", user_ids=("u01", "u02")),
        Audience(name="group:age > 30", user_ids=("u07",)),
    )

    assert resolve_users(["group:age < 30", "zoë,u01", "group:age > 30"], USERS) == [
        young,
        person("zoë"),
        person("u01"),
        old,
    ]
    assert [audience.is_group for audience in (young, person("u01"))] == [True, False]


@pytest.mark.parametrize(
    "specs, complaint",
    [
        (["all", "u02"], "user 'u02' is named twice; name each user once"),
        (["group:age < 30", "u07", "group:age < 30"], "group 'group:age < 30' is named twice; name each group once"),
        (["group:age < 30", "group:age <= 29"], "'group:age < 30' and 'group:age <= 29' are the same people"),
        (["u07", "group:age > 30"], "'u07' and 'group:age > 30' are the same people; name them once"),
    ],
)
def test_an_audience_that_is_named_twice_is_refused(specs: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        resolve_users(specs, USERS)


def test_a_group_is_shown_by_what_its_members_have_in_common() -> None:
    assert shown_name("group: age < 30 ") == "age < 30"
    assert shown_name("u01") == "u01"


@pytest.mark.parametrize("spec", ["", " ", ",", " , "])
def test_a_specification_that_names_nobody_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"names nobody; use all, u01,u07, @FILE or group:PREDICATE"):
        resolve_users([spec], USERS)


def test_a_group_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="group:age > 99: nobody of 4 users is in this group; widen the predicate"):
        resolve_users(["group:age > 99"], USERS)


@pytest.mark.parametrize(
    "predicate",
    [
        "",
        "wage > 3",
        "country",
        "count(*) > 1",
        "true; DROP TABLE users",
        "true) UNION SELECT * FROM users --",
        "true; ATTACH '{made}'",
        "(COPY (SELECT 1) TO '{made}')",
        "user_id IN (SELECT content FROM read_text('{secret}'))",
        "user_id IN (SELECT content FROM '{secret}')",
        "(SELECT count(*) FROM read_csv('{secret}')) > 0",
        "(SELECT count(*) FROM glob('{secret}')) > 0",
        "(SELECT count(*) FROM read_csv('https://example.com/x.csv')) > 0",
        "(SELECT count(*) FROM USERS) > 0",
        "getenv('HOME') <> ''",
        "true; SET enable_external_access = true",
        "error('stop') = 1",
        "(" * 300,
    ],
)
def test_a_hostile_or_broken_predicate_reaches_nothing_and_is_refused_with_the_columns(
    tmp_path: Path, predicate: str
) -> None:
    secret, made = tmp_path / "secret.csv", tmp_path / "made"
    secret.write_text("u01")

    with pytest.raises(ValueError, match=r"no predicate over the columns user_id, age, country"):
        resolve_users([f"group:{predicate.format(secret=secret, made=made)}"], USERS)

    assert list(tmp_path.iterdir()) == [secret]


def person(user: str) -> Audience:
    return Audience(name=user, user_ids=(user,))
