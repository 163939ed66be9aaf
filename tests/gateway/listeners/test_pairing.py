"""Which two connections belong together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.listeners.pairing import Pairing, machine


@pytest.mark.parametrize("speaks_first", [True, False])
def test_the_two_halves_of_a_client_are_paired_in_either_order(*, speaks_first: bool) -> None:
    pairing: Pairing[str] = Pairing()
    if speaks_first:
        assert pairing.speaks("10.0.0.1", "s") is None
        assert pairing.listens("10.0.0.1", "l") == ("s", "l")
    else:
        assert pairing.listens("10.0.0.1", "l") is None
        assert pairing.speaks("10.0.0.1", "s") == ("s", "l")


def test_machines_are_kept_apart() -> None:
    pairing: Pairing[str] = Pairing()
    assert pairing.speaks("10.0.0.1", "s1") is None
    assert pairing.listens("10.0.0.2", "l2") is None
    assert pairing.listens("10.0.0.1", "l1") == ("s1", "l1")


def test_on_one_machine_the_first_speaker_gets_the_first_listener() -> None:
    pairing: Pairing[str] = Pairing()
    for name in ("s1", "s2", "s3"):
        assert pairing.speaks("10.0.0.1", name) is None
    assert [pairing.listens("10.0.0.1", name) for name in ("l1", "l2", "l3")] == [
        ("s1", "l1"),
        ("s2", "l2"),
        ("s3", "l3"),
    ]


def test_one_that_is_given_up_is_not_paired_any_more() -> None:
    pairing: Pairing[str] = Pairing()
    pairing.speaks("10.0.0.1", "s1")
    assert pairing.forget("s1")
    assert not pairing.forget("s1")
    assert pairing.listens("10.0.0.1", "l1") is None


def test_one_that_was_paired_waits_no_longer() -> None:
    pairing: Pairing[str] = Pairing()
    pairing.speaks("10.0.0.1", "s1")
    pairing.listens("10.0.0.1", "l1")
    assert not pairing.forget("s1")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans(), st.booleans()), max_size=40))
def test_nothing_is_paired_twice_and_nothing_is_kept(steps: list[tuple[str, bool, bool]]) -> None:
    pairing: Pairing[int] = Pairing()
    waiting: set[int] = set()
    for number, (host, speaks, gives_up) in enumerate(steps):
        pair = pairing.speaks(host, number) if speaks else pairing.listens(host, number)
        waiting.add(number)
        if pair is not None:
            assert set(pair) <= waiting
            waiting -= set(pair)
        if gives_up:
            assert pairing.forget(number) is (number in waiting)
            waiting.discard(number)
    for number in waiting:
        assert pairing.forget(number)
    assert not pairing._waiting


@pytest.mark.parametrize("address", ["127.0.0.1", "127.5.0.1", "::1", "::ffff:127.0.0.1"])
def test_all_addresses_by_which_a_machine_calls_itself_are_one(address: str) -> None:
    assert machine(address) == "loopback"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8:0::1", "2001:db8::1"),
        ("somewhere", "somewhere"),
        ("", ""),
    ],
)
def test_any_other_machine_has_one_name(address: str, name: str) -> None:
    assert machine(address) == name
