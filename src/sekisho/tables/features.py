"""What another program may have switched on in a table of ours. Must let nothing be added or read that it would spoil.

Source: Delta Transaction Log Protocol, "Table Features", "Valid Feature Names in Table Features".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sekisho.tables.schema import PARTITION

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: a file that is added as ours are is whole with these
_APPENDED = frozenset({
    "appendOnly", "changeDataFeed", "deletionVectors", "domainMetadata", "timestampNtz", "typeWidening",
    "v2Checkpoint", "vacuumProtocolCheck",
})  # fmt: skip
#: supported is not yet used: by these words in a table's configuration or schema a feature is
_USED_BY = {
    "allowColumnDefaults": "CURRENT_DEFAULT",
    "checkConstraints": "delta.constraints.",
    "columnMapping": "delta.columnMapping.physicalName",
    "generatedColumns": "delta.generationExpression",
    "identityColumns": "delta.identity.",
    "inCommitTimestamp": "delta.enableInCommitTimestamps",
    "invariants": "delta.invariants",
}


class UnknownFeatures(OSError):
    """Another program gave the table features that this one does not know."""


def check_append(table: DeltaTable, name: str) -> None:
    """Raises UnknownFeatures for a table to which rows have to be added in another way than ours."""
    if table.metadata().partition_columns != [PARTITION]:
        # as where it was registered before the gateway had made it, and then given columns: rows would lose their day
        raise UnknownFeatures(
            f"{name} was made by another program, without {PARTITION} as its partition: take that table away, and it "
            "is made anew"
        )
    used = _used(table)
    spoilt = {feature for feature in table.protocol().writer_features or () if feature not in _APPENDED | {*_USED_BY}}
    if found := sorted(used | spoilt):
        raise UnknownFeatures(
            f"{name} has features that another program has switched on, and rows cannot be added to it as they need: "
            f"{', '.join(found)}; drop them there (ALTER TABLE … DROP FEATURE)"
        )


def check_read(table: DeltaTable, name: str) -> None:
    """Raises UnknownFeatures for a table whose files do not say by themselves which rows it has."""
    if "columnMapping" in _used(table):
        raise UnknownFeatures(f"{name} has renamed columns (columnMapping): read it with the program that did it")
    if "deletionVectors" in (table.protocol().reader_features or ()) and _has_vectors(table):
        raise UnknownFeatures(
            f"{name} has rows that another program has deleted and left in the files (deletion vectors): rewrite them "
            "there (REORG TABLE … APPLY (PURGE))"
        )


def _used(table: DeltaTable) -> set[str]:
    settings = table.metadata().configuration
    words = [table.schema().to_json(), *(name for name, value in settings.items() if value != "false")]
    return {feature for feature, word in _USED_BY.items() if any(word in one for one in words)}


def _has_vectors(table: DeltaTable) -> bool:
    from deltalake.exceptions import DeltaError

    try:
        return any(batch.num_rows for batch in table.deletion_vectors())
    except (DeltaError, OSError):
        return True  # a vector that cannot be read is one
