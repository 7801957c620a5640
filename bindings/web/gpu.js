// WebGPU for the module: the functions that `src/delegate/gpu/browser.rs` asks for, by the names that it has for them.

/** As `Usage` counts them. */
const usages = () => {
  const { STORAGE, UNIFORM, MAP_READ, COPY_DST, COPY_SRC } = GPUBufferUsage;
  return [STORAGE | COPY_DST | COPY_SRC, UNIFORM | COPY_DST, MAP_READ | COPY_DST];
};

/** The functions, for a module whose memory `memory()` is. Nothing is thrown into the module: `failure` tells. */
export function gpuFunctions(memory) {
  const objects = new Map();
  let [last, device, info, failed, encoder, pass] = [0, null, null, "", null, null];

  const fail = (message) => void (failed ||= message);
  const keep = (object) => {
    objects.set(++last, object);
    return last;
  };
  const bytes = (start, length) => new Uint8Array(memory(), start, length);
  const put = (text, start, room) => new TextEncoder().encodeInto(text, bytes(start, room)).written;

  async function open() {
    if (device) return 1;
    const adapter = await globalThis.navigator?.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return 0;
    const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
    device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
    info = adapter.info;
    device.onuncapturederror = ({ error }) => fail(error.message);
    device.lost.then(({ reason, message }) => fail(`the device was lost (${reason}): ${message}`));
    return 1;
  }

  async function read(buffer, start, length) {
    const readable = objects.get(buffer);
    await readable.mapAsync(GPUMapMode.READ, 0, length);
    bytes(start, length).set(new Uint8Array(readable.getMappedRange(0, length)));
    readable.unmap();
  }

  const functions = {
    is_software: () => Number(info.isFallbackAdapter),
    has_packed_dot: () => Number(navigator.gpu.wgslLanguageFeatures.has("packed_4x8_integer_dot_product")),
    largest: () => Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize),
    destroy: () => device.destroy(),
    name: (start, room) => put(info.description || info.device || `${info.vendor} ${info.architecture}`, start, room),
    failure: (start, room) => put(failed, start, room),
    create: (size, usage) => keep(device.createBuffer({ size, usage: usages()[usage] })),
    write: (buffer, start, length) => device.queue.writeBuffer(objects.get(buffer), 0, memory(), start, length),
    compile(start, length, count, writable) {
      const types = ["uniform", "uniform"];
      for (let i = 0; i < count; i++) types.push((writable >> i) & 1 ? "storage" : "read-only-storage");
      const visibility = GPUShaderStage.COMPUTE;
      const entries = types.map((type, binding) => ({ binding, visibility, buffer: { type } }));
      const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
      const module = device.createShaderModule({ code: new TextDecoder().decode(bytes(start, length)) });
      return keep(device.createComputePipeline({ layout, compute: { module, entryPoint: "main" } }));
    },
    bind(kernel, start, count) {
      const numbers = [...new Uint32Array(memory(), start, count)];
      const entries = numbers.map((buffer, binding) => ({ binding, resource: { buffer: objects.get(buffer) } }));
      return keep(device.createBindGroup({ layout: objects.get(kernel).getBindGroupLayout(0), entries }));
    },
    dispatch(kernel, bindings, x, y) {
      encoder ??= device.createCommandEncoder();
      pass ??= encoder.beginComputePass();
      pass.setPipeline(objects.get(kernel));
      pass.setBindGroup(0, objects.get(bindings));
      pass.dispatchWorkgroups(x, y);
    },
    copy(from, to, length) {
      pass?.end();
      pass = null;
      encoder.copyBufferToBuffer(objects.get(from), 0, objects.get(to), 0, length);
    },
    submit() {
      pass?.end();
      device.queue.submit([encoder.finish()]);
      encoder = pass = null;
    },
    release: (object) => void objects.delete(object),
  };
  const guarded = (call) => (...numbers) => {
    try {
      return call(...numbers);
    } catch (error) {
      fail(error.message);
    }
  };
  /** A function that the module waits for, by JavaScript Promise Integration; without it there is no GPU. */
  const waiting = (call) => {
    const guarded = (...numbers) => call(...numbers).catch((error) => fail(error.message));
    return "Suspending" in WebAssembly ? new WebAssembly.Suspending(guarded) : () => 0;
  };
  const all = Object.entries(functions).map(([name, call]) => [name, guarded(call)]);
  return { ...Object.fromEntries(all), open: waiting(open), read: waiting(read) };
}
