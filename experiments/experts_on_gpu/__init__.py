"""How many experts to keep on the GPU, and which: three models on six cards.

``python -m prefetch_sim.experiments.experts_on_gpu`` runs the three sweeps of this folder, keeps
what came of them in ``experiments/results/experts_on_gpu``, draws, and fills the page in docs/.
"""
