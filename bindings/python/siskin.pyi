"""Runs encoder-decoder Transformers on devices, offline, from one file: translation, summarization and every other
text-to-text task."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Literal, final, overload

__version__: str

class Error(Exception):
    """What went wrong, where, and what to do."""

    kind: str
    """One of Io, NotAModel, NewerVersion, Corrupt, Schema, Vocabulary, InvalidUtf8, InvalidOption, InputTooLong,
    MemoryLimit, NonFinite, Cancelled."""

@final
class Translation:
    """What a text was turned into; `str` gives the text."""

    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float | None:
        """The sum of the scores of the parts that were read one by one."""
    @property
    def alternatives(self) -> list[tuple[str, float | None]]:
        """Up to `n_best` texts and scores, the best first; none for a blank text."""

@final
class Translator:
    """Turns text into text. Threads may share one, and take turns; for work in parallel, take `threads` or several.

    Options that are not given are those that the model asks for. Any of `top_k`, `top_p`, `temperature` and `seed` asks
    for random tokens.
    """

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        adapter: str | PathLike[str] | None = None,
        load: Literal["read", "map"] = "read",
        beam: int = ...,
        n_best: int = ...,
        min_length: int = ...,
        max_length: int = ...,
        no_repeat_ngram: int = ...,
        length_penalty: float = ...,
        coverage_penalty: float = ...,
        patience: float = ...,
        repetition_penalty: float = ...,
        top_k: int = ...,
        top_p: float = ...,
        temperature: float = ...,
        seed: int = ...,
        task: str = ...,
        target_prefix: str = ...,
        unit: Literal["line", "sentence"] = ...,
        long_input: Literal["refuse", "split", "truncate"] = ...,
        shortlist: Literal["off", "on", "verify"] = ...,
        batch: int = ...,
        threads: int = ...,
        max_memory: int | None = ...,
    ) -> Translator:
        """Opens a model, with an adapter over it.

        `load="map"` starts at once and shares memory with other processes; the file must then not be changed in place
        while the translator lives, and its checksums are not verified.
        """

    @overload
    def translate(self, texts: str) -> Translation: ...
    @overload
    def translate(self, texts: Sequence[str]) -> list[Translation]: ...
    @overload
    def translate(
        self, texts: Sequence[str], *, return_exceptions: Literal[True]
    ) -> list[Translation | Error]:
        """Translates texts together, while other threads of Python run; answers have the order of the texts, and each is
        what its text alone gives. With `return_exceptions` the error of one text stands in its place."""

    def stream(self, text: str) -> Iterator[str]:
        """Parts of the translation, as soon as they are certain. The rest is cancelled when the iterator is dropped."""

    @property
    def isa(self) -> str:
        """The instruction set that the model runs on, such as `avx2`."""

@final
class Outcome:
    """What became of a lesson; `str` describes it."""

    @property
    def kept(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def version(self) -> int:
        """How often what was learned has changed."""
    @property
    def divergence(self) -> float | None:
        """From the model's own answers to its golden sentences, in nats a token."""

@final
class Learner:
    """Learns corrections; what it learned before is in `adapter`."""

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        adapter: str | PathLike[str] | None = None,
        load: Literal["read", "map"] = "read",
        memory: int | None = None,
        threads: int | None = None,
        seconds: float | None = None,
        reach: Literal["everywhere", "terms"] = "everywhere",
    ) -> Learner:
        """`memory` is in bytes beside the model, `seconds` is how long a lesson may take.

        An adapter whose reach is `terms` is used for sources that have a word which several corrections translate alike,
        and the model otherwise; all others come out as without it. What an adapter has, goes on with the same.
        """

    def learn(self, pairs: Sequence[tuple[str, str]]) -> Outcome:
        """Learns pairs of source and target. They are kept if nothing else is spoilt."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the adapter file."""
