"""How the packets of one writer schema are read: by the kernel, or slowly where its program would be too long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.codec import ops
from stream.codec.decode import run_slowly
from stream.codec.kernel import run_program
from stream.codec.program import MAX_WORDS, Program, TooLong, compile_program
from stream.codec.schema import WriterSchema
from stream.codec.slots import Outcome, Slot, find_slots


@dataclass(frozen=True, slots=True)
class Plan:
    """A writer schema, ready to read with.

    Attributes
    ----------
    schema
        The schema.
    slots
        The wanted fields that it has.
    program
        For the kernel; None where it would be too long.
    """

    schema: WriterSchema
    slots: tuple[Slot, ...]
    program: Program | None

    @classmethod
    def of(cls, schema: WriterSchema, paths: frozenset[str], max_words: int = MAX_WORDS) -> Plan:
        """Make the plan of a schema for the wanted paths."""
        try:
            program = compile_program(schema.root, paths, max_words=max_words)
        except TooLong:
            return cls(schema, tuple(find_slots(schema.root, paths).values()), None)
        return cls(schema, program.slots, program)

    def run(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        *,
        chain: bool = False,
    ) -> Outcome:
        """Check packets and read the wanted fields; see `stream.codec.kernel.run_program`."""
        if self.program is None:
            return run_slowly(self.schema.root, self.slots, buffer, starts, ends, chain=chain)
        return run_program(self.program, buffer, starts, ends, chain=chain)

    def refusal(self, outcome: Outcome, i: int, start: int, size: int) -> tuple[str, str]:
        """Code and reason of a refused packet, whose message begins at `start` and has `size` bytes."""
        code, words = ops.REFUSALS[int(outcome.status[i])]
        where = self.program.where.get(int(outcome.word[i]), "") if self.program is not None else ""
        field = f", at or after {where}" if where else ""
        return code, f"{words}, at byte {int(outcome.at[i]) - start} of {size}{field}"
