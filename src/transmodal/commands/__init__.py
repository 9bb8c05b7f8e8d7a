"""The commands: small dataclasses whose fields are the options, with ``run()``; there is no logic here.

Slow imports happen inside ``run()``, so that ``--help`` answers at once. Data go to stdout, everything else
to stderr.
"""

from transmodal.commands.about import Doctor, Download, List, Show
from transmodal.commands.data import Audit, Import, Plan, Prepare
from transmodal.commands.handover import Export
from transmodal.commands.questions import Agreement, Lesions, Overlap, Probe, Robustness
from transmodal.commands.runs import (
    Benchmark,
    Calibrate,
    Card,
    Compare,
    Demo,
    Evaluate,
    Replay,
    Report,
    Synthesize,
    Train,
)
from transmodal.commands.voice import Voice

COMMANDS = (
    Demo,
    Import,
    Audit,
    Plan,
    Prepare,
    Train,
    Replay,
    Calibrate,
    Synthesize,
    Evaluate,
    Compare,
    Benchmark,
    Robustness,
    Agreement,
    Lesions,
    Overlap,
    Probe,
    Card,
    Report,
    Export,
    Download,
    List,
    Show,
    Doctor,
)

Command = (
    Demo
    | Import
    | Audit
    | Plan
    | Prepare
    | Train
    | Replay
    | Calibrate
    | Synthesize
    | Evaluate
    | Compare
    | Benchmark
    | Robustness
    | Agreement
    | Lesions
    | Overlap
    | Probe
    | Card
    | Report
    | Export
    | Download
    | List
    | Show
    | Doctor
)

__all__ = ["COMMANDS", "Command", "Voice"]
