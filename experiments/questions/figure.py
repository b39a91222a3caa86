"""What a predictor of each recall is worth, over host links and two sizes of the cache."""

from __future__ import annotations

from pathlib import Path

from prefetch_sim.experiments.plots.style import COLOURS, legend, look, panels
from prefetch_sim.experiments.questions.report import LINK, Results, recall_curve


def draw(results: Results, folder: Path) -> None:
    """``recall.png``."""
    frame = results["recall"]
    sizes = list(dict.fromkeys(frame["cache.capacity"]))
    with look():
        figure, axes = panels(
            len(sizes),
            "What a predictor is worth before it is built",
            ["Qwen3-30B-A3B, Q4_K_M, on an RTX 3060 12 GB, runtime imp; one layer ahead"],
            width=3.4,
            height=3.2,
        )
        for panel, size in zip(axes, sizes):
            panel.set_title(f"{size} of the experts cached")
            panel.axhline(0, color="#333333", linewidth=0.8)
            part = frame[frame["cache.capacity"] == size]
            for colour, (link, curve) in zip(COLOURS, part.groupby(LINK, sort=False)):
                none = float(curve["ms"][curve["predictor"] == "none"].iloc[0])
                recalls, gains = recall_curve(curve, none)
                label = f"link {link} GB/s"
                panel.plot(100 * recalls, 100 * gains, "o-", color=colour, label=label)
            panel.set_xlabel("slot recall, %")
        axes[0].set_ylabel("time a token saved, %")
        legend(figure, axes)
        figure.savefig(folder / "recall.png", dpi=140)
