//! Many nodes, one thread, one seed: the machines of core under a simulated kernel and network.
