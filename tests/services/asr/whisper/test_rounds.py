"""Who is decoded next."""

from dataclasses import dataclass

from services.asr.whisper.rounds import Rounds


@dataclass(eq=False)
class Asks:
    name: str
    final: bool = True
    frames: int = 3000

    @property
    def kind(self) -> tuple[int, int, bool]:
        return self.frames, 0, self.final


def rounds(*waiting: Asks, batch: int = 8, partial_batch: int = 4) -> Rounds[Asks]:
    made = Rounds[Asks](batch, partial_batch)
    for each in waiting:
        made.add(each)
    return made


def taken(from_: Rounds[Asks]) -> list[str]:
    return [each.name for each in from_.take()]


def test_finals_go_before_partials_and_never_with_them() -> None:
    made = rounds(Asks("p1", final=False), Asks("f1"), Asks("p2", final=False), Asks("f2"))
    assert taken(made) == ["f1", "f2"]
    assert taken(made) == ["p1", "p2"]
    assert taken(made) == []


def test_a_round_is_no_larger_than_its_bound() -> None:
    made = rounds(*(Asks(f"{n}") for n in range(5)), *(Asks(f"p{n}", final=False) for n in range(3)), batch=3)
    assert [len(made.take()) for _ in range(4)] == [3, 2, 3, 0]
    assert len(rounds(*(Asks("p", final=False) for _ in range(5)), partial_batch=2).take()) == 2


def test_who_has_many_windows_is_served_once_before_others_are_served() -> None:
    made = rounds(Asks("long"), Asks("a"), Asks("b"), batch=1)
    order = []
    for _ in range(5):
        order += taken(made)
        if order[-1] == "long":
            made.add(Asks("long"))
    assert order == ["long", "a", "b", "long", "long"]


def test_the_oldest_decides_the_kind_and_others_keep_their_places() -> None:
    made = rounds(Asks("a", frames=500), Asks("b"), Asks("c", frames=500), Asks("d"))
    assert taken(made) == ["a", "c"]
    made.add(Asks("e", frames=500))
    assert taken(made) == ["b", "d"]


def test_what_is_dropped_is_not_taken() -> None:
    gone = Asks("gone")
    made = rounds(gone, Asks("a"))
    assert gone in made
    made.drop(gone)
    made.drop(gone)
    assert gone not in made
    assert taken(made) == ["a"]


def test_it_is_full_when_the_next_round_cannot_grow() -> None:
    assert not rounds(Asks("a"), batch=2).full
    assert rounds(Asks("a"), Asks("b"), batch=2).full
    assert rounds(Asks("p", final=False), partial_batch=1).full
    assert not rounds(Asks("p", final=False), Asks("f"), partial_batch=1).full
