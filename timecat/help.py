"""What `timecat --help` and `timecat bottleneck --help` print."""

HELP = """\
usage: timecat COMMAND CONFIG [options] [--section.key VALUE ...]

Time-Cat: train N short members instead of one long one, concatenate their
frozen features, probe.

your own images
  init      look at folders, write the configs of a study and its probes
the whole study
  run       write missing data, train members, probe, report; goes on where it
            was stopped
  plan      members, snapshots, steps, images, epochs, the probes' passes
  status    what is finished, running or missing
  launch    the whole study as SLURM jobs; again: only what is missing
its stages
  write     data set -> .beton files
  fit       train members: all that are unfinished, or one
  probe     features once, then linear heads on every cat, all together
  report    table, report.md, report.png and TensorBoard from the results on
            disk
beside the probes
  knn       nearest neighbours, no head at all
  few-shot  heads on n images a class: gain against the number of labels
  tune      train a cat further: fine-tune it on a probe's data, whole or member
            by member, or distil it into one network
on your own images, by a cat of a finished study
  features  features.npy of a directory of images
  predict   CAT DIR: their classes, by the head that a probe chose
  export    safetensors, torch.export, ONNX, with a model card
when something is wrong
  verify    every file of a study against its hashes: what is whole, what is not
  doctor    this machine: versions, kernel, GPUs, disk, locks, SLURM, each ok or
            what to do
features from elsewhere: a config with a features section, of .npy files
  run, plan, status, probe, report, knn, few-shot   the same on them
the paper's question
  bottleneck counterexample   the argument itself: exact risks, small learners
  bottleneck saturation       how much members repeat each other
  bottleneck select           members chosen one by one on held-out images
Lightning's own, on one member's or probe's config
  fit       without a study: one network
  validate  test  predict    with --ckpt_path; predict writes features

any key of the config can be overridden: --data.root /data, --model.lr 0.1
--cats A,B takes these of a study's cats alone
timecat COMMAND --help lists a command's options and the keys of its config;
timecat COMMAND --help model says what each key of a section means; all: of all
eval "$(timecat --print-completion bash)" completes all of these by TAB

example: timecat run --config configs/demo.yaml
"""
BOTTLENECK_HELP = """\
usage: timecat bottleneck counterexample --weights W W W W [options]
       timecat bottleneck saturation CONFIG [options]
       timecat bottleneck select CONFIG [options]

The paper's question (arXiv 2506.18221): a network trained on a mixture keeps
the features that suffice for it, and loses others that a part of it needs.

counterexample   the argument in four points: exact risks, a sparse linear
                 learner, small networks from many seeds
saturation       of a study's features: their rank, how much members repeat
                 each other, what each one adds
select           members chosen one by one on held-out images, at which cost

Which parts of your own data are starved, study.direct asks: timecat run
configs/bottleneck/mixture.yaml. Who is left behind: timecat report CONFIG
--by class, component or group. docs/bottleneck.md has it all.

timecat bottleneck PART --help lists a part's options

example: timecat bottleneck counterexample --weights 0.4 0.3 0.2 0.1
"""
