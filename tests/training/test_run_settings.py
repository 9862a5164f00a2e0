"""Settings of a run: what is written is what is read, a mistake is named by its key, and the keys stay as they are."""

import pytest
import yaml

from coslice.errors import CosliceError
from coslice.priors import embedded_priors, read_card
from coslice.training.run_settings import TrainingSettings, differences
from coslice.training.sections import OptimiserSettings, SupervisedSettings, View
from coslice.tree import overlay, read_tree
from small_training import small


def test_settings_survive_their_file(tmp_path):
    settings = small(init="ct", optimiser=OptimiserSettings("muon", 1e-3), seed=7)
    settings.save(tmp_path / "run.yaml")
    assert TrainingSettings.load(tmp_path / "run.yaml") == settings
    assert TrainingSettings.from_dict({}) == TrainingSettings()
    stretched = small(views=(View(16, (1.0, 1.0), 1, 1, (1.0, 2.0)),))
    stretched.save(tmp_path / "run.yaml")
    assert TrainingSettings.load(tmp_path / "run.yaml") == stretched
    tree = settings.to_dict()
    del tree["views"][0]["stretch"], tree["patches"]  # as a file from before they were there
    assert TrainingSettings.from_dict(tree) == settings


def test_yaml_as_people_write_it(tmp_path):
    (tmp_path / "a.yaml").write_text("optimiser: {learning_rate: 1e-3}\ndata:\n  validation: [s1, s2]\nbatch: 8\n")
    settings = TrainingSettings.load(tmp_path / "a.yaml")
    assert settings.optimiser.learning_rate == 1e-3 and settings.batch == 8
    assert settings.data.validation == ("s1", "s2")
    (tmp_path / "b.yaml").write_text("")
    assert TrainingSettings.load(tmp_path / "b.yaml") == TrainingSettings()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"batchsize": 3}, "key batchsize is not known"),
        ({"optimiser": {"lr": 3}}, r"key optimiser\.lr is not known; Known are name, learning_rate"),
        ({"optimiser": {"name": "sgd"}}, r"optimiser\.name is 'sgd', but it must be adam, adamw or muon"),
        ({"optimiser": {"learning_rate": "fast"}}, r"optimiser\.learning_rate is 'fast', but a number is needed"),
        ({"optimiser": {"learning_rate": -1}}, r"optimiser\.learning_rate is -1\.0"),
        ({"optimiser": {"betas": [0.9]}}, r"optimiser\.betas is \[0\.9\], but a list of 2 is needed"),
        ({"optimiser": "muon"}, "optimiser is 'muon', but keys with values are needed"),
        ({"batch": 0}, "batch is 0, but it must be at least 1"),
        ({"batch": 1.5}, r"batch is 1\.5, but a whole number is needed"),
        ({"batch": True}, "batch is True, but a whole number"),
        ({"images": "many"}, "images is 'many'"),
        ({"micro": 0}, "micro is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "fp8"}, "precision is 'fp8', but it must be auto, bf16 or f32"),
        ({"data": {"plane": "yy"}}, r"data\.plane is 'yy'"),
        ({"data": {"plane": "xyz"}}, r"data\.plane is 'xyz'"),
        ({"data": {"size": 8}}, r"data\.size is 8, but it must be at least 32"),
        ({"data": {"validation": 1.0}}, r"data\.validation is 1\.0"),
        ({"data": {"thickness": 0}}, r"data\.thickness is 0"),
        ({"data": {"thickness": 2}, "supervised": {"tasks": ["svct-cone-8"]}}, "left out where there are supervised"),
        ({"augment": {"rotate": 181}}, r"augment\.rotate is 181"),
        ({"data": {"strict": "yes"}}, r"data\.strict is 'yes', but true or false"),
        ({"schedule": {"name": "step"}}, r"schedule\.name is 'step'"),
        ({"schedule": {"decay": 2}}, r"schedule\.decay is 2\.0"),
        ({"averages": {"widths": []}}, r"averages\.widths"),
        ({"averages": {"widths": [0.5]}}, r"averages\.widths"),
        ({"averages": {"snapshots": -1}}, r"averages\.snapshots is -1"),
        ({"sigma": {"lowest": 30}}, r"sigma\.lowest is 30\.0"),
        ({"sigma": {"median": 0}}, r"sigma\.median"),
        ({"sigma": {"draw": "mixture"}}, r"sigma\.ranges is \[\], but it must be one or more ranges for a mixture"),
        ({"sigma": {"ranges": [{"lowest": 0.1, "highest": 1, "share": 0.5}]}}, "left out where draw is no mixture"),
        ({"sigma": {"draw": "mixture", "ranges": [{"lowest": 1, "highest": 0.1, "share": 0.5}]}}, "a higher one"),
        ({"sigma": {"draw": "mixture", "ranges": [{"lowest": 1, "highest": 2, "share": 0}]}}, "share is 0"),
        (
            {"sigma": {"draw": "mixture", "ranges": [{"lowest": 1, "highest": 21, "share": 1}]}},
            r"within .* 0\.002 to 20",
        ),
        (
            {"sigma": {"draw": "mixture", "ranges": 2 * [{"lowest": 1, "highest": 2, "share": 0.6}]}},
            "at most 1 together",
        ),
        ({"sigma": {"draw": "published"}}, "log-normal or mixture for this network"),
        ({"network": {"width": 3}}, r"key network\.width is not known"),
        ({"network": {"multipliers": [1, "2"]}}, r"network\.multipliers\[1\] is '2'"),
        ({"views": []}, "views is"),
        ({"views": [{"side": 64}]}, r"views\[0\] lacks one of scale, share"),
        ({"views": [{"side": 64, "scale": [1, 1], "share": 1, "zoom": 2}]}, r"key views\[0\]\.zoom is not known"),
        ({"views": [{"side": 0, "scale": [1, 1], "share": 1}]}, "side"),
        ({"views": [{"side": 64, "scale": [1, 1], "share": 1, "stretch": [2]}]}, r"views\[0\]\.stretch is \[2\]"),
        ({"augment": {"flip_rows": 2}}, "flip"),
        ({"patches": {"slices": 0}}, "at least 1 slice"),
        ({"patches": {"jump": 2}}, "shares between 0 and 1"),
        ({"patches": {"slices": 3}, "network": {}}, r"network\.image_channels is 1, but it must be patches\.slices, 3"),
        ({"network": {"image_channels": 3}}, r"network\.image_channels is 3, but it must be patches\.slices, 1"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(tree, message):
    with pytest.raises(CosliceError, match=f"^train: .*{message}"):
        TrainingSettings.from_dict(tree)


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("- 1\n", "holds no keys")])
def test_files_that_hold_no_settings(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(CosliceError, match=message):
        read_tree(tmp_path / "a.yaml")
    with pytest.raises(CosliceError, match="cannot be read"):
        read_tree(tmp_path / "none.yaml")


def test_overlay_and_differences_undo_each_other():
    stored = TrainingSettings().to_dict()
    given = {"batch": 3, "data": {"plane": "zx"}, "init": None}
    merged = overlay(stored, given)
    assert differences(stored, given) == ["batch", "data.plane"]
    assert differences(merged, given) == [] and merged["data"]["window"] == "ct"


@pytest.mark.parametrize(
    ("init", "told"),
    [
        ("/home/jane/runs/ct/prior.safetensors", "ct"),
        ("runs/mine.safetensors", "mine.safetensors"),
        (r"C:\\Users\\jane\\chest\\prior.safetensors", "chest"),
        ("./prior.safetensors", "prior.safetensors"),
        ("../prior.safetensors", "prior.safetensors"),
        ("/a (1)/b.safetensors", "b.safetensors"),
        ("hf:owner/repository/file@main", "hf:owner/repository/file@main"),
        ("ct", "ct"),
        (None, None),
    ],
)
def test_what_travels_names_no_folder_and_no_scan(init, told):
    data = {"validation": ["4711", "0815"], "subjects": "/home/jane/patients.csv"}
    settings = TrainingSettings.from_dict({"init": init, "data": data})
    tree = settings.to_travel()
    assert tree["init"] == told
    assert tree["data"]["validation"] == ["held-out-1", "held-out-2"] and tree["data"]["subjects"] == "patients.csv"
    TrainingSettings.from_dict(tree)
    assert settings.to_dict()["init"] == init and settings.to_dict()["data"]["validation"] == data["validation"]


KEYS = """
images batch micro precision seed init preset data_mean data_std
data.plane data.window data.size data.validation data.background data.subjects data.strict data.licence data.credit
data.not_for
data.thickness
network.image_channels network.channels network.multipliers network.blocks network.fold network.positions
network.exchange
views.side views.scale views.share views.images views.stretch
augment.flip_columns augment.flip_rows augment.gain augment.offset augment.dequantise augment.rotate
patches.slices patches.jump patches.flip
supervised.tasks supervised.sizes rollouts
optimiser.name optimiser.learning_rate optimiser.betas optimiser.momentum optimiser.clip optimiser.weight_decay
schedule.name schedule.warmup schedule.hold schedule.decay schedule.epochs
averages.widths averages.rates averages.snapshots
sigma.median sigma.spread sigma.lowest sigma.highest sigma.draw sigma.ranges
published
"""
"""Of run.yaml, in its order, since the first release: finished runs and priors hold them."""


DEFAULTS = """\
images: 300000
batch: 16
micro: null
precision: auto
seed: 0
init: null
preset: null
data_mean: null
data_std: null
data:
  plane: yx
  window: ct
  size: null
  validation: 0.1
  background: null
  subjects: null
  strict: false
  licence: ''
  credit: ''
  not_for: ''
  thickness: null
network: null
views: null
augment:
  flip_columns: 0.5
  flip_rows: 0.25
  gain: 0.05
  offset: 0.01
  dequantise: true
  rotate: 0.0
patches:
  slices: 1
  jump: 0.5
  flip: 0.5
supervised: null
rollouts: []
optimiser:
  name: muon
  learning_rate: 0.0012
  betas:
  - 0.9
  - 0.99
  momentum: 0.95
  clip: 1.0
  weight_decay: 0.01
schedule:
  name: linear
  warmup: 1600
  hold: 40000
  decay: 0.35
  epochs: null
averages:
  widths:
  - 0.05
  - 0.12
  rates: []
  snapshots: 8
sigma:
  median: 0.15
  spread: 1.5
  lowest: 0.002
  highest: 20.0
  draw: log-normal
  ranges: []
published: null
"""
"""Of a run of which nothing was said."""


def test_the_keys_of_a_run_are_those_of_every_run_before(tmp_path):
    """In the file of a run and so in its prior's metadata; of lists, the keys of their first entry."""

    def keys(tree, path=""):
        for key, value in tree.items():
            below = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
            yield from keys(below, f"{path}{key}.") if isinstance(below, dict) else [f"{path}{key}"]

    whole = small(supervised=SupervisedSettings(("svct-parallel-8",), (32,)))
    whole.save(tmp_path / "run.yaml")
    tree = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert list(keys(tree)) == KEYS.split()
    assert TrainingSettings.from_dict(tree) == whole


def test_the_file_of_a_run_that_says_nothing(tmp_path):
    TrainingSettings().save(tmp_path / "run.yaml")
    assert (tmp_path / "run.yaml").read_text() == DEFAULTS


@pytest.mark.parametrize("name", sorted(embedded_priors()))
def test_the_settings_of_an_embedded_prior_can_be_read(name):
    """All that its metadata say of its run, whenever that was, so it can be made again."""
    stored = read_card(name).get("recipe", {})  # the oldest says nothing
    for view in stored.get("views", []):
        view.setdefault("stretch", [1.0, 1.0])  # which priors from before there were any do not mention
    assert differences(TrainingSettings.from_dict(stored).to_dict(), stored) == []
