"""Cohorts whose scans are broken, whose workers and drivers are killed: nothing is lost, nobody is left behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import engine_jobs
from coslice.benchmark import BenchmarkCall, Store, complete_on, keyed_cells, load_benchmark
from coslice.cohort import Cohort
from coslice.engine import Job
from coslice.engine.local import LocalEngine
from small_benchmark import computed

pytestmark = pytest.mark.faults

WITH_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
ENGINES = ["local", pytest.param("ray", marks=WITH_RAY)]
SCANS = [f"p{number:02}" for number in range(12)]
BROKEN, KILLED = "p01", "p02"
EXAMPLES = Path(__file__).parents[2] / "examples" / "slurm"
PATIENCE_S = 300


@pytest.fixture
def cohort(tmp_path, scan, tiny_prior):
    """A manifest of scans, one of them broken, and a recipe; one that is killed takes longer than the others."""

    def written(names):
        (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b" + 60 * b"x")
        rows = ["scan,name,method,prior,steps,slices"]
        for name in names:
            place = "broken.nii.gz" if name == BROKEN else scan
            how = f"dds,{tiny_prior},20,0:16" if name == KILLED else "fdk,,,4:12"
            rows.append(f"{place},{name},{how}")
        (tmp_path / "m.csv").write_text("\n".join(rows))
        (tmp_path / "r.yaml").write_text("views: 6\n")
        return tmp_path

    return written


@pytest.fixture
def environment():
    """For processes of one core; what Ray writes is in a folder of its own, whose name is short, as sockets need."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp" if Path("/tmp").is_dir() else None)
    paths = [str(Path(engine_jobs.__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    yield os.environ | {
        "RAY_TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    shutil.rmtree(folder, ignore_errors=True)


def started(folder, environment, *options):
    command = [sys.executable, "-m", "coslice", "cohort", "m.csv", "--recipe", "r.yaml", "--out", "out"]
    words = [*command, *map(str, options), "--device", "cpu"]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in output + errors, output + errors
    return process.returncode, output, errors


def at_work(folder, name, other=None):
    """Wait until a worker, and not the `other` of before, is at a scan; its process."""
    cohort, end = Cohort(folder / "out"), time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        record = cohort.record(name)
        process = int(record.worker.rpartition(":")[2] or 0)
        if record.state == "running" and record.scan is not None and process != other:
            return process
        time.sleep(0.01)
    raise AssertionError(f"nobody is at {name}")


def gone(process):
    """Wait until a process is gone."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def of_ray(environment):
    """Processes whose command line names the folder of this Ray."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if environment["RAY_TMPDIR"].encode() in words:
            found.append(int(place.parent.name))
    return found


def table(folder):
    with open(folder / "out" / "cohort.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def stamps(folder):
    """Of every file of every result, when it was written."""
    files = (path for path in (folder / "out").glob("*/[!.]*") if path.parent.name != "cohort")
    return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize(("engine", "count"), [("local", 4), pytest.param("ray", 12, marks=WITH_RAY)])
def test_a_broken_scan_is_named_a_killed_worker_loses_nothing_and_what_is_done_is_not_done_again(
    cohort, environment, engine, count
):
    names = SCANS[:count]
    folder = cohort(names)
    process = started(folder, environment, "--engine", engine, "--workers", 2 if engine == "ray" else 1)
    os.kill(at_work(folder, KILLED), signal.SIGKILL)
    code, output, errors = ended(process)
    assert code == 1 and f"{count} scans: 0 done, {count} to do." in output, errors
    assert f"1 of {count} scans failed. {BROKEN}: " in errors
    rows = table(folder)
    assert [name for name, row in rows.items() if row["status"] != "done"] == [BROKEN]
    assert rows[BROKEN]["status"] == "failed" and "broken.nii.gz" in rows[BROKEN]["message"]
    assert {name: row["starts"] for name, row in rows.items()} == {**dict.fromkeys(names, "1"), KILLED: "2"}
    assert all((folder / "out" / name / "report.html").is_file() for name in names if name != BROKEN)
    page = (folder / "out" / "index.html").read_text()
    assert page.index(BROKEN) < page.index("Numbers") and str(folder) not in page
    record = json.loads((folder / "out" / "cohort.json").read_text())
    assert record["counts"] == {"done": count - 1, "failed": 1} and record["summary"][0]["count"] == count - 1
    before = stamps(folder)
    assert before
    shutil.copy(folder / "out" / KILLED / "truth.nii.gz", folder / "broken.nii.gz")  # mended
    code, output, errors = ended(started(folder, environment, "--engine", "local", "--workers", 1))
    assert code == 0 and f"{count} scans: {count - 1} done, 1 to do." in output, errors
    assert before.items() <= stamps(folder).items() and table(folder)[BROKEN]["status"] == "done"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_driver_leaves_nobody_behind_and_the_cohort_goes_on(tmp_path, scan, tiny_prior, environment, engine):
    (tmp_path / "m.csv").write_text(f"scan,name,steps\n{scan},a,1\n{scan},b,40\n")
    (tmp_path / "r.yaml").write_text(f"views: 6\nmethod: dds\nprior: {tiny_prior}\n")
    process = started(tmp_path, environment, "--engine", engine, "--workers", 1)
    worker = at_work(tmp_path, "b")
    ours = [worker, *of_ray(environment)]
    process.kill()
    process.communicate()
    assert len(ours) > (engine == "ray") and all(map(gone, ours)) and not of_ray(environment)
    done = stamps(tmp_path)
    assert Cohort(tmp_path / "out").record("a").state == "done" and done
    if engine == "ray":
        return  # how it goes on is not the engine's to say
    process = started(tmp_path, environment, "--engine", "local", "--workers", 1)
    worker = at_work(tmp_path, "b", worker)
    process.send_signal(signal.SIGTERM)
    code, _, errors = ended(process)
    assert code == 143 and "the same command goes on" in errors and gone(worker)
    assert table(tmp_path)["b"]["status"] == "stopped"
    code, output, errors = ended(started(tmp_path, environment, "--engine", "local", "--workers", 1))
    assert code == 0 and "2 scans: 1 done, 1 to do." in output, errors
    assert {path: stamp for path, stamp in stamps(tmp_path).items() if path in done} == done


@WITH_RAY
def test_jobs_on_ray_end_as_those_of_processes_do(tmp_path, environment, monkeypatch):
    from coslice.engine.ray_cluster import RayEngine, connected

    for name in ("RAY_TMPDIR", "PYTHONPATH"):
        monkeypatch.setenv(name, environment[name])
    jobs = [
        Job("two", engine_jobs.doubled, (1,)),
        Job("once", engine_jobs.dies, (1,)),
        Job("always", engine_jobs.dies, (9,)),
        Job("short", engine_jobs.short_of_memory, (1,)),
        Job("bad", engine_jobs.refuses, (), tmp_path / "bad.txt"),
    ]
    connected(None, 2, 0)
    found = {one.key: one for one in RayEngine(2, 1).run(jobs, 1)}
    assert {key: (one.last.ending, one.attempts) for key, one in found.items()} == {
        "two": ("done", 1),
        "once": ("done", 2),
        "always": ("killed", 2),
        "short": ("done", 2),
        "bad": ("refused", 1),
    }
    assert found["bad"].last.message in (tmp_path / "bad.txt").read_text()
    assert not of_ray(environment)


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_that_are_asked_to_stop_finish_what_they_are_at(tmp_path, environment, engine, monkeypatch):
    for name in ("RAY_TMPDIR", "PYTHONPATH"):
        monkeypatch.setenv(name, environment[name])
    workers = LocalEngine(1, 1)
    if engine == "ray":
        from coslice.engine.ray_cluster import RayEngine, connected

        connected(None, 1, 0)
        workers = RayEngine(1, 1)
    jobs = [Job(key, engine_jobs.waits, (str(tmp_path),)) for key in "ab"]
    found = list(workers.run(jobs, stopping=lambda: any(tmp_path.glob("began-*"))))
    assert [(one.key, one.last.ending) for one in found] == [("a", "stopped")]
    assert len(list(tmp_path.glob("asked-*"))) == 1 and not of_ray(environment)


def test_cells_on_two_workers_are_those_of_one_process(tree, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tree = tree | {"published": {}, "groups": {"few": tree["groups"]["few"]}}
    tree["methods"].pop("DDS+ISCS, longer")
    path = str(saved(tree))
    benchmark = load_benchmark(path, seeds=(0,))
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    computed(benchmark, one)
    cells = keyed_cells(benchmark)
    complete_on(LocalEngine(2, 1), BenchmarkCall(path, seeds=(0,)), benchmark, cells, two, "auto")
    assert len(cells) == 3
    for key in cells.values():
        assert one.volume(key).read_bytes() == two.volume(key).read_bytes()
        first, second = one.record(key), two.record(key)
        assert first and second and first.keys() == second.keys()
        for part in ("metrics", "curves", "study", "protocol", "title", "row", "seed"):
            assert first[part] == second[part]


@pytest.fixture
def slurm(tmp_path, environment):
    """Commands of Slurm and of Ray that write down what they are asked, and `coslice` as it is."""
    places = tmp_path / "bin"
    places.mkdir()
    said = tmp_path / "said.txt"
    scripts = {
        "scontrol": f'echo scontrol "$@" >> {said}; if [ "$1" = show ]; then printf "n1\\nn2\\n"; fi',
        "srun": f'echo srun "$@" >> {said}; '
        'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; exec "$@"',
        "ray": f'echo ray "$@" >> {said}; exec sleep 60',
        "coslice": f'echo coslice "$@" >> {said}; [ -n "$CODE" ] && exit "$CODE"; '
        f'exec {sys.executable} -m coslice "$@"',
    }
    for name, body in scripts.items():
        (places / name).write_text(f"#!/bin/bash\n{body}\n")
        (places / name).chmod(0o755)
    known = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1", "RAY_START_SECONDS": "0.2"}
    known |= {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "PATH": f"{places}:{os.environ['PATH']}"}

    def run(script, number=0, shares=8, code=""):
        body = (EXAMPLES / script).read_text().replace("SHARES=8", f"SHARES={shares}")
        (tmp_path / "job.sh").write_text(body)
        more = {"SLURM_ARRAY_TASK_ID": str(number), "CODE": code}
        words = ["bash", "job.sh", "m.csv", "r.yaml", "out"]
        done = subprocess.run(words, cwd=tmp_path, env=environment | known | more, timeout=PATIENCE_S, check=False)
        return done.returncode, said.read_text().splitlines()

    return run


def test_tasks_of_a_job_array_share_a_cohort(tmp_path, scan, slurm):
    rows = "".join(f"{scan},{name}\n" for name in "ab")
    (tmp_path / "m.csv").write_text("scan,name\n" + rows)
    (tmp_path / "r.yaml").write_text("method: fdk\nviews: 6\nslices: 4:12\n")
    assert slurm("cohort-array.sbatch", 0, 2)[0] == 0
    assert {name: row["status"] for name, row in table(tmp_path).items()} == {"a": "done", "b": "waiting"}
    before = stamps(tmp_path)
    assert before
    code, said = slurm("cohort-array.sbatch", 1, 2)
    assert code == 0 and said[-1].endswith("--share 1/2")
    assert {row["status"] for row in table(tmp_path).values()} == {"done"}
    assert before.items() <= stamps(tmp_path).items()


def test_scripts_of_slurm_are_requeued_when_their_time_is_over(slurm):
    for path in EXAMPLES.glob("*.sbatch"):
        subprocess.run(["bash", "-n", path], check=True)
    code, said = slurm("cohort-array.sbatch", 5, code="143")
    assert code == 143 and said[-1] == "scontrol requeue 7_5"
    assert slurm("cohort-array.sbatch", 5, code="1") == (1, [*said, *said[:-1]])
    code, said = slurm("cohort-ray.sbatch", code="143")
    assert code == 143 and said[-1] == "scontrol requeue 7"
    asked = [line for line in said if line.startswith("coslice") and "--address" in line]
    assert len(asked) == 1 and asked[0].endswith("--engine ray --address n1:6379")
    assert sum(line.startswith("ray start --head") for line in said) == 1
    assert sum(line.startswith("ray start --address=n1:6379") for line in said) == 1
