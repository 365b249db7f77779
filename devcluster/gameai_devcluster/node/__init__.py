"""A real node beside the simulated ones: kubelet, containerd, kube-proxy and cluster DNS, as root on Linux."""
