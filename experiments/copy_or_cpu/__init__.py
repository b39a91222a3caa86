"""Copy a missing expert to the GPU, or compute it on the CPU: where that turns.

``python -m prefetch_sim.experiments.copy_or_cpu`` runs the three sweeps of this folder, keeps what
came of them in ``experiments/results/copy_or_cpu``, draws, and fills the page in docs/.
"""
