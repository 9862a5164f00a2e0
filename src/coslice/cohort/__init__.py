"""Many scans by one recipe: the list of them, what is known of each, and the table of all."""

from coslice.cohort.cohort_folder import Cohort
from coslice.cohort.fingerprints import Fingerprint, fingerprint, options_digest, same_content
from coslice.cohort.manifest import Manifest, ManifestScan, read_manifest, share_of
from coslice.cohort.scan_record import ScanRecord
from coslice.cohort.statistics import Statistic, flat_numbers, statistics_of
from coslice.cohort.tables_on_disk import write_tables

__all__ = [
    "Cohort",
    "Fingerprint",
    "Manifest",
    "ManifestScan",
    "ScanRecord",
    "Statistic",
    "fingerprint",
    "flat_numbers",
    "options_digest",
    "read_manifest",
    "same_content",
    "share_of",
    "statistics_of",
    "write_tables",
]
