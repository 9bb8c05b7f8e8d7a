"""Watch: what the curves of a training say is wrong, in words. It looks at numbers alone, and changes nothing.

Gradient norms and the adversarial terms of critics are means since the last line of the log. Each thing is said
once.
"""

import math
from collections.abc import Mapping
from statistics import median

GRADIENT = "readings/gradient/"
"""How the norm of a player's gradient is called in the log."""

_LINES = 5
"""Lines of the log before anything is judged, and for which a critic must have won."""


class Watch:
    """The health of one training."""

    def __init__(self) -> None:
        self._norms: dict[str, list[float]] = {}
        self._start: dict[str, float] = {}
        self._won: dict[str, int] = {}
        self._said: set[str] = set()

    def look(self, means: Mapping[str, float]) -> list[str]:
        """What the newest line of the log says is wrong.

        Args:
            means: ``player/term`` → mean since the last line, gradient norms among them.
        """
        found: list[tuple[str, str]] = []
        for name, value in means.items():
            player, _, term = name.partition("/")
            if name.startswith(GRADIENT):
                found += self._gradient(name.removeprefix(GRADIENT), value)
            elif "critic" in player and "adversarial" in term:
                found += self._critic(player, term, value)
        new = [sentence for thing, sentence in found if thing not in self._said]
        self._said |= {thing for thing, _ in found}
        return new

    def _gradient(self, player: str, norm: float) -> list[tuple[str, str]]:
        before = self._norms.setdefault(player, [])
        usual = median(before) if len(before) >= _LINES else math.nan
        before.append(norm)
        if norm > 20 * usual:
            sentence = (
                f"the gradient of {player} has a norm of {norm:.3g}, {norm / usual:.0f} times what is usual "
                f"({usual:.3g}); if it goes on, set training.players.{player}.clip = {2 * usual:.1g}"
            )
            return [(f"leap of {player}", sentence)]
        if len(before) >= _LINES and max(before[-_LINES:]) < 1e-8:
            sentence = (
                f"{player} gets next to no gradient (norm {norm:.1g}) and does not learn; check the weights of "
                "its terms and the activation of its output"
            )
            return [(f"standstill of {player}", sentence)]
        return []

    def _critic(self, player: str, term: str, value: float) -> list[tuple[str, str]]:
        start = self._start.setdefault(f"{player}/{term}", value)
        won = self._won.get(term, 0) + 1 if 0 <= value < 0.02 * start else 0
        self._won[term] = won
        if won != _LINES:
            return []
        sentence = (
            f"{player} tells real from made almost without error ({term} {value:.2g}, at the start {start:.2g}); "
            f"a generator learns little from it then: lower training.players.{player}.lr"
        )
        return [(f"victory of {player}", sentence)]
