/** Which package brings a library that the CUDA provider needs: pip's name, for CUDA 13. */
const PACKAGES: readonly [RegExp, string][] = [
  [/^libcudart\.so/, 'nvidia-cuda-runtime'],
  [/^libcublas(Lt)?\.so/, 'nvidia-cublas'],
  [/^libcurand\.so/, 'nvidia-curand'],
  [/^libcufft\.so/, 'nvidia-cufft'],
  [/^libnvrtc\.so/, 'nvidia-cuda-nvrtc'],
  [/^libcudnn.*\.so/, 'nvidia-cudnn-cu13'],
];

/** One line for each missing library, by its exact name, and what brings it. */
export function explainMissing(libraries: readonly string[]): string[] {
  const lines = libraries.map((library) => {
    if (/^libcuda\.so/.test(library)) return `${library}: the NVIDIA driver`;
    const found = PACKAGES.find(([pattern]) => pattern.test(library));
    return `${library}: ${found === undefined ? 'the package of your system that has it' : `pip install ${found[1]}`}`;
  });
  if (lines.length > 0) {
    lines.push(
      'or install CUDA 13 and cuDNN 9 by your system; then put their folders into LD_LIBRARY_PATH, where the loader looks',
    );
  }
  return lines;
}
