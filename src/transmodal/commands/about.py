"""Commands about what there is: methods, weights, this machine."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Download:
    """Fetch published weights that a method trains with. Their digest is checked where one is published."""

    name: Positional[str]
    """vgg19, vgg19-normalised, sam-vit-b (-l, -h), medsam-vit-b, sam2-hiera-tiny (-small, -base-plus, -large)."""
    to: Path | None = None
    """Folder; by default the cache, where recipes look ($TRANSMODAL_CACHE or ~/.cache/transmodal)."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.nn.pretrained import download

        print(download(self.name, self.to))


@dataclass(frozen=True)
class List:
    """The methods there are."""

    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal import catalogue

        methods = catalogue.list()
        if self.json:
            print(json.dumps(methods, indent=2))
            return
        width = max(len(m["name"]) for m in methods)
        for m in methods:
            print(f"{m['name']:{width}}  {m['summary']}")


@dataclass(frozen=True)
class Show:
    """A method's networks with their sizes, and every argument with its default."""

    method: Positional[str]
    """Name of a method, or a dotted module of your own."""
    settings: Words = ()
    """key=value: arguments of the method, sources, targets, spatial, neighbours, and size (adds GMAC)."""
    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal.catalogue import show, spell

        facts = show(self.method, self.settings)
        print(json.dumps(facts, indent=2) if self.json else spell(facts))


@dataclass(frozen=True)
class Doctor:
    """What this machine has, and what is missing or unwise."""

    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal.machine import doctor, spell

        facts = doctor()
        print(json.dumps(facts, indent=2) if self.json else spell(facts))
