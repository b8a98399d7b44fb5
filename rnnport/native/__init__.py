"""The kernels of recurrent layers: C++ sources, the library built of them, and where it is."""
