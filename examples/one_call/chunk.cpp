// One chunk from a bundle of layout single in C++: ./chunk BUNDLE [SEED]
// Prints a line of 14 targets (rad, m) per action, for a grey picture, arms at zero and the first prompt in the file.
//
//     g++ -std=c++17 -I ORT/include chunk.cpp -L ORT/lib -lonnxruntime -o chunk
//
// ORT: a release of ONNX Runtime 1.23 or later from its download page. `rows` and `coefficients`, which choose step
// count and solver, may be passed as two more inputs; left out, the graph samples with the bundle's first schedule.

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

static size_t count(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>());
}

int main(int argc, char** argv) try {
  if (argc < 2) throw std::runtime_error("usage: chunk BUNDLE [SEED]");
  const std::string bundle = argv[1];
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "chunk");
  Ort::Session session(env, (bundle + "/policy.onnx").c_str(), Ort::SessionOptions());

  // The graph knows its own sizes.
  Ort::AllocatorWithDefaultOptions allocator;
  std::map<std::string, std::vector<int64_t>> shapes;
  for (size_t i = 0; i < session.GetInputCount(); ++i)
    shapes[session.GetInputNameAllocated(i, allocator).get()] =
        session.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape();

  std::vector<uint8_t> composite(count(shapes.at("composite")), 127);
  std::vector<float> state(count(shapes.at("state"))), prompt(count(shapes.at("prompt_embeds"))),
      noise(count(shapes.at("noise")));
  std::mt19937 random(argc > 2 ? std::atoi(argv[2]) : 0);
  std::normal_distribution<float> normal;
  for (float& value : noise) value = normal(random);

  // safetensors: the length of a JSON header, the header, the tensors by name.
  std::ifstream file(bundle + "/prompts.safetensors", std::ios::binary);
  uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof header).ignore(static_cast<std::streamsize>(header));
  if (!file.read(reinterpret_cast<char*>(prompt.data()), static_cast<std::streamsize>(prompt.size() * sizeof(float))))
    throw std::runtime_error(bundle + "/prompts.safetensors: cannot be read");

  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto tensor = [&](auto& data, const char* name) {
    return Ort::Value::CreateTensor(cpu, data.data(), data.size(), shapes.at(name).data(), shapes.at(name).size());
  };
  const char* inputs[] = {"composite", "state", "prompt_embeds", "noise"};
  const char* outputs[] = {"targets"};
  Ort::Value values[] = {tensor(composite, inputs[0]), tensor(state, inputs[1]), tensor(prompt, inputs[2]),
                         tensor(noise, inputs[3])};
  auto results = session.Run(Ort::RunOptions(), inputs, values, 4, outputs, 1);

  const auto shape = results[0].GetTensorTypeAndShapeInfo().GetShape();
  const float* targets = results[0].GetTensorData<float>();
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i)
    std::printf("%.7f%c", targets[i], (i + 1) % shape[1] ? ' ' : '\n');
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
