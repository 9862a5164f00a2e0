"""What is trained: from a step to a prior's file.

`trainer` is the step, with its `optimisers` and `average`. `training_run` repeats it in a folder (`run_folder`) on what
`run_inputs` prepares; `checkpoint` keeps its state, `journal` its log. `measures` says how good it is, by `validation`
or `pair_validation`, and `card` what became of it. Of `snapshots` of the averages, `afterwards` makes those of other
widths (`profiles`) and chooses.
"""
