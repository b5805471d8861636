"""Functions of libraries that this project does not replace, but whose bodies its code relies on.

tests/training/test_hf_hooks.py says when a release changes one: see `pipeline.training.upstream`.
"""

from pipeline.training.upstream import Hook

TRAINER = "pipeline.training.hf_hooks.HookedTrainer"
RESUMABLE = "pipeline.training.resumable.ResumableTrainer"
PACKED = "pipeline.modeling.packed_attention"
LAUNCHER = "pipeline.runtime.launcher"

DEPENDENCIES = [
    # The training loop.
    Hook(
        "transformers.Trainer.compute_loss",
        "pipeline.training.trainer.Trainer.mean_loss_of_update",
        reason="what `compute_loss_func` returns is multiplied by the number of processes, or by that of GPUs if one "
        "process feeds several",
        remove_when="the loss function alone decides the scale",
        digests={"5.23.0": "160dea726d2f", "5.24.0": "160dea726d2f"},
    ),
    Hook(
        "transformers.Trainer.training_step",
        "pipeline.training.trainer.Trainer.mean_loss_of_update",
        reason="what `compute_loss_func` returns is not divided by the accumulation steps",
        remove_when="the loss function alone decides the scale",
        digests={"5.23.0": "e9760c8ee103", "5.24.0": "e9760c8ee103"},
    ),
    Hook(
        "transformers.Trainer._run_epoch",
        f"{TRAINER}.get_batch_samples and {RESUMABLE}",
        reason="an update of no batches is passed over; `on_step_end` comes before evaluating and saving; the random "
        "state is restored after the batches of a resumed epoch's first update are read",
        remove_when="`get_batch_samples` is no longer replaced, and callbacks can stop training before it evaluates",
        digests={"5.23.0": "31aff00f34c3", "5.24.0": "31aff00f34c3"},
    ),
    Hook(
        "transformers.Trainer._maybe_log_save_evaluate",
        RESUMABLE,
        reason="it saves where `control.should_save` says, after evaluating, and logs the loss of all processes since "
        "the last log",
        remove_when="callbacks can stop training before it evaluates",
        digests={"5.23.0": "af101534f0f7", "5.24.0": "af101534f0f7"},
    ),
    Hook(
        "transformers.trainer_callback.DefaultFlowCallback",
        RESUMABLE,
        reason="it sets `control` before our callbacks look at it",
        remove_when="callbacks can stop training before it evaluates",
        digests={"5.23.0": "c9efb81c3102", "5.24.0": "c9efb81c3102"},
    ),
    Hook(
        "transformers.Trainer._init_training_state",
        f"{RESUMABLE}.find_best_checkpoint",
        reason="`on_train_begin` comes after the state is loaded; a best checkpoint counts if its folder exists",
        remove_when="Trainer looks for the best checkpoint in `output_dir`, and whether it is complete",
        digests={"5.23.0": "8fbd17ebb7d3", "5.24.0": "8fbd17ebb7d3"},
    ),
    Hook(
        "transformers.Trainer._finalize_training",
        RESUMABLE,
        reason="`best_model_checkpoint` is loaded at the end; the mean loss includes what one process has not logged",
        remove_when="Trainer gathers the loss at the end too",
        digests={"5.23.0": "6d6d83d6a271", "5.24.0": "6d6d83d6a271"},
    ),
    Hook(
        "transformers.Trainer._evaluate",
        f"{TRAINER}.evaluate_and_track_best",
        reason="an evaluation that an interruption skipped is done as within training",
        remove_when="Trainer has a public method that evaluates and keeps the best",
        digests={"5.23.0": "64dfb995ce20", "5.24.0": "64dfb995ce20"},
    ),
    Hook(
        "transformers.Trainer._determine_best_metric",
        f"{TRAINER}.evaluate_and_track_best",
        reason="an evaluation that an interruption skipped is done as within training",
        remove_when="Trainer has a public method that evaluates and keeps the best",
        digests={"5.23.0": "7aa77355a0c3", "5.24.0": "7aa77355a0c3"},
    ),
    Hook(
        "accelerate.data_loader.skip_first_batches",
        "pipeline.training.hf_hooks._SetEpoch",
        reason="it hides the sampler behind two wrappers, where `set_epoch` does not reach it",
        remove_when="`set_epoch` reaches every sampler",
        digests={"1.15.0": "c3e05a215cb6"},
    ),
    Hook(
        "accelerate.data_loader.BatchSamplerShard",
        "pipeline.data.dataset.EpochSampler",
        reason="batches are dealt to processes in turn; it fills the last one up only if it is not full",
        remove_when="it can leave the last batch as it is",
        digests={"1.15.0": "bc556bbcf71e"},
    ),
    # FSDP.
    Hook(
        "accelerate.state.AcceleratorState.__init__",
        "pipeline.training.hf_hooks._shard_on_cpu_too",
        reason="it ignores FSDP without GPUs, without a word; `distributed_type` is changed before it looks",
        remove_when="FSDP is honored on MULTI_CPU",
        digests={"1.15.0": "e5c18cb49fc9"},
    ),
    Hook(
        "accelerate.utils.fsdp_utils.fsdp2_apply_ac",
        f"{TRAINER}._configure_fsdp",
        reason="layers are computed again with other dropout masks, so the option is refused",
        remove_when="it preserves the random state",
        digests={"1.15.0": "5d59331f5008"},
    ),
    Hook(
        "accelerate.utils.fsdp_utils.fsdp2_prepare_model",
        f"{TRAINER}._configure_fsdp",
        reason="it shards embeddings twice if a model names them, so the layers are named for it",
        remove_when="it works with the names that BERT, RoBERTa and ELECTRA give themselves",
        digests={"1.15.0": "8a4cb9db8310"},
    ),
    Hook(
        "accelerate.utils.fsdp_utils.save_fsdp_model",
        "pipeline.training.resumable.FSDP_WEIGHTS",
        reason="the name of its file tells FSDP's checkpoints from others",
        remove_when="a checkpoint says how it was written",
        digests={"1.15.0": "0ad60b659f96"},
    ),
    # Launchers and processes.
    Hook(
        "accelerate.state.PartialState._prepare_backend",
        "pipeline.runtime.devices.needs_cpu_backend",
        reason="it connects processes without GPUs only when it is told to use the CPU",
        remove_when="it connects all processes that torchrun starts",
        digests={"1.15.0": "e81abbeaafee"},
    ),
    Hook(
        "accelerate.commands.launch.simple_launcher",
        LAUNCHER,
        reason="it answers a failed script with a traceback and exit code 1, and has no signal handlers",
        remove_when="it exits with the script's exit code and no traceback",
        digests={"1.15.0": "957cc4b84183"},
    ),
    Hook(
        "accelerate.commands.launch.multi_gpu_launcher",
        LAUNCHER,
        reason="torchrun runs within the launcher's process",
        remove_when="it exits with the script's exit code and no traceback",
        digests={"1.15.0": "c4249a2baf4c"},
    ),
    Hook(
        "torch.distributed.elastic.multiprocessing.api.PContext.start",
        LAUNCHER,
        reason="torchrun answers SIGTERM, SIGINT, SIGHUP and SIGQUIT with a traceback, but neither SIGUSR1 nor SIGUSR2",
        remove_when="torchrun tells an interruption from a failure",
        digests={"2.9.0": "533b2582d35a", "2.13.0": "72136724708b"},
    ),
    Hook(
        "torch.distributed.distributed_c10d._get_default_store",
        "pipeline.runtime.coordinated_stop._StoreBoard",
        reason="the key-value store of the default process group",
        remove_when="torch has a public name for it",
        digests={"2.9.0": "4f987107c62d", "2.13.0": "4f987107c62d"},
    ),
    # Packed batches: `packed_attention` goes through a classifier's parts by their names.
    Hook(
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        f"{PACKED}.packed_attention",
        reason="ordinary batches are left to it",
        remove_when="transformers packs encoders' batches by itself",
        digests={"5.23.0": "e3d016070b6a", "5.24.0": "9be3d6b1f79a"},
    ),
]

PARTS = {
    "bert": {
        "BertForSequenceClassification": {"5.23.0": "db7be92fb40f", "5.24.0": "db7be92fb40f"},
        "BertModel": {"5.23.0": "3dd7597f1217", "5.24.0": "206449513843"},
        "BertEmbeddings": {"5.23.0": "a63bbd78cf6d", "5.24.0": "d71759050ebc"},
        "BertEncoder": {"5.23.0": "da20f9a51867", "5.24.0": "97b8ece047fe"},
        "BertLayer": {"5.23.0": "7dbaacb15335", "5.24.0": "23b195ddffec"},
        "BertAttention": {"5.23.0": "292bbc5b7392", "5.24.0": "3599ee1a65ab"},
        "BertSelfAttention": {"5.23.0": "14db541caf52", "5.24.0": "622bfebcc4d3"},
        "BertPooler": {"5.23.0": "1f2c1b34fb12", "5.24.0": "1f2c1b34fb12"},
    },
    "electra": {
        "ElectraForSequenceClassification": {"5.23.0": "e52bee497f9e", "5.24.0": "e52bee497f9e"},
        "ElectraClassificationHead": {"5.23.0": "6e7d3e931952", "5.24.0": "6e7d3e931952"},
        "ElectraModel": {"5.23.0": "1581c5e958fa", "5.24.0": "978dd0c4a550"},
        "ElectraEmbeddings": {"5.23.0": "709d00a56689", "5.24.0": "0b9849c3abae"},
        "ElectraEncoder": {"5.23.0": "a07a2b416f03", "5.24.0": "bd2bf3b1d87f"},
        "ElectraLayer": {"5.23.0": "bc39e86e0e15", "5.24.0": "66762953c59e"},
        "ElectraAttention": {"5.23.0": "0b0c0f85dc9e", "5.24.0": "7f6e28135178"},
        "ElectraSelfAttention": {"5.23.0": "aae28d0a5e12", "5.24.0": "0837cf5ea102"},
    },
    "roberta": {
        "RobertaForSequenceClassification": {"5.23.0": "a9ba5153a44b", "5.24.0": "a9ba5153a44b"},
        "RobertaClassificationHead": {"5.23.0": "134fde254a6b", "5.24.0": "134fde254a6b"},
        "RobertaModel": {"5.23.0": "c359f6b74610", "5.24.0": "56b16fba85ae"},
        "RobertaEmbeddings": {"5.23.0": "3636473f807b", "5.24.0": "4a3bda8fef64"},
        "RobertaEncoder": {"5.23.0": "d8c23d796fba", "5.24.0": "6c17aaf56bc0"},
        "RobertaLayer": {"5.23.0": "f32dc8447911", "5.24.0": "b0557d6e648f"},
        "RobertaAttention": {"5.23.0": "f312a8616e4c", "5.24.0": "cad416d03f1d"},
        "RobertaSelfAttention": {"5.23.0": "5db4559d9605", "5.24.0": "f0a83caed4fc"},
    },
}
DEPENDENCIES += [
    Hook(
        f"transformers.models.{family}.modeling_{family}.{name}",
        f"{PACKED}.enable_packing",
        reason="its forward over a packed row repeats what this does over a padded batch, with the same parts",
        remove_when="transformers packs encoders' batches by itself",
        digests=digests,
    )
    for family, classes in PARTS.items()
    for name, digests in classes.items()
]
