// Work that one tab at a time does.

// Run `work` under a lock of this name. Without locks (no TLS, or a sandboxed frame) every tab works for itself.
export async function alone(name, work, signal) {
  let began = false;
  const begin = () => {
    began = true;
    return work();
  };
  try {
    if (navigator.locks) return await navigator.locks.request(name, { signal }, begin);
  } catch (error) {
    if (began || error.name !== "SecurityError") throw error;
  }
  return work();
}
