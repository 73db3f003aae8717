/**
 * Environment of a process that runs sessions on CUDA; what the user sets wins. Devices are counted by PCI bus, as `nvidia-smi`
 * does. cuBLAS takes two buffers of 4 MiB and eight of 16 KiB for each handle, of which a session has three: on Hopper its own choice is
 * 72 MiB a handle, so that a small lane held 250 MiB instead of 85 (ADR 0010).
 */
export const CUDA_ENVIRONMENT = {
  CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
  CUBLAS_WORKSPACE_CONFIG: ':4096:2:16:8',
} as const;
