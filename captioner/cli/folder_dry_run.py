"""`captioner folder --dry-run`: prints the plan."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.cli.folder_paths import Find

if TYPE_CHECKING:
    from captioner.folder.estimate import Sample
    from captioner.folder.sidecars.targets import Target
    from captioner.folder.sources.remote import StrPath


def print_plan(
    args: argparse.Namespace,
    path: Path,
    tables: list[Path],
    *,
    root: "StrPath",
    settings: dict[str, Any],
    find: Find,
    targets: "list[Target]",
) -> "Sample":
    """Print what would be done with each photo, one per line, and the counts.

    Returns:
        A sample of the photos that would be captioned.
    """
    from captioner.folder.estimate import Sample
    from captioner.folder.journal.index import JournalIndex, read_index, read_records
    from captioner.folder.journal.joining import newer
    from captioner.folder.journal.run_file import RunFile
    from captioner.folder.outputs.edits import read_edits
    from captioner.folder.outputs.failures import name_prefixes, read_problems
    from captioner.folder.plan import claim_shared, plan
    from captioner.folder.progress import one_line
    from captioner.folder.sources.inputs import Photo
    from captioner.folder.sources.shards import find_shards

    index = JournalIndex(path) if args.overwrite else read_index(path)
    if index.size:
        RunFile(path).check(settings)
        claim_shared(targets, path, root)
    edits = {} if args.overwrite else read_edits(tables, index)
    for _, part in find_shards(path) if args.join else ():
        for record, _ in read_records(part):
            for found in newer([record], index):
                index.add(found, start=0)
        claim_shared(targets, part, root)
    for name in edits:
        print(f"keep edit\t{one_line(name)}")
    kinds = Counter({"keep edit": len(edits)} if edits else {})
    retried = name_prefixes(read_problems(path, index), root=root)
    sample = Sample()
    steps = plan(find(), index, targets=targets, retry_failed=args.retry_failed, retried=retried)
    for step in steps:
        kinds[step.kind] += 1
        if step.kind.startswith("caption") and isinstance(step.found, Photo):
            sample.add(step.found)
        print("\t".join(filter(None, (step.kind, one_line(step.found.name), step.reason))))
    if not args.quiet:
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "no photos"
        print(f"captioner: dry run, nothing written: {counts}.", file=sys.stderr)
    return sample
