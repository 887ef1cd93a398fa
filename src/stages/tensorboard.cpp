#include "cai/stages/tensorboard.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/stages/metrics.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i)
    text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7)
    text += static_cast<char>((value & 0x7f) | 0x80);
  return text + static_cast<char>(value);
}

// Fields of a protocol buffer: the tag is the field's number and the wire type (0 varint, 1 eight bytes, 2 a
// length and bytes, 5 four bytes).
std::string tag(int number, int wire_type) {
  return varint(static_cast<std::uint64_t>(number << 3 | wire_type));
}

std::string bytes_field(int number, std::string_view bytes) {
  return tag(number, 2) + varint(bytes.size()) + std::string(bytes);
}

std::string double_field(int number, double value) {
  return tag(number, 1) + little_endian(std::bit_cast<std::uint64_t>(value), 8);
}

std::string float_field(int number, float value) {
  return tag(number, 5) + little_endian(std::bit_cast<std::uint32_t>(value), 4);
}

// A CRC that is stored beside its data is masked (TensorFlow, tsl/lib/hash/crc32c.h).
std::string masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return little_endian(((crc >> 15) | (crc << 17)) + 0xa282ead8u, 4);
}

// TFRecord: length, its CRC, the data, its CRC.
std::string tf_record(const std::string& data) {
  const std::string length = little_endian(data.size(), 8);
  return length + masked_crc(length) + data + masked_crc(data);
}

// Summary.Value (tensorboard/compat/proto/summary.proto): tag = 1, simple_value = 2.
void add_scalars(std::string& summary, const Json& value, const std::string& name) {
  if (value.is_number()) {
    summary += bytes_field(1, bytes_field(1, name) + float_field(2, static_cast<float>(value.get<double>())));
  } else if (value.is_object()) {
    for (const auto& [key, one] : value.items())
      add_scalars(summary, one, name + "/" + key);
  }
}

std::int64_t step_of(const Json& line, std::size_t index) {
  for (const char* name : {"step", "update"})
    if (line.contains(name) && line[name].is_number_integer()) return line[name].get<std::int64_t>();
  return static_cast<std::int64_t>(index) + 1;
}

double seconds_of(const fs::path& file) {
  const auto written = std::chrono::file_clock::to_sys(fs::last_write_time(file));
  return std::chrono::duration<double>(written.time_since_epoch()).count();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit)
        crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
      made[i] = crc;
    }
    return made;
  }();
  std::uint32_t crc = 0xffffffffu;
  for (const char c : bytes)
    crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

// Event (tensorboard/compat/proto/event.proto): wall_time = 1, step = 2, file_version = 3, summary = 5.
std::string event_file(const std::vector<Json>& metrics, const std::string& prefix, double time) {
  std::string file = tf_record(double_field(1, time) + bytes_field(3, "brain.Event:2"));
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    std::string summary;
    for (const auto& [name, value] : metrics[i].items())
      if (name != "step" && name != "update") add_scalars(summary, value, prefix + "/" + name);
    const std::uint64_t step = static_cast<std::uint64_t>(step_of(metrics[i], i));
    file += tf_record(double_field(1, time) + tag(2, 0) + varint(step) + bytes_field(5, summary));
  }
  return file;
}

std::vector<fs::path> write_event_files(const fs::path& run, const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::path& iteration : iterations_of(run))
    for (const std::string& stage : stages_with_metrics(iteration)) {
      const fs::path file = folder / iteration.filename() / stage / "events.out.tfevents.cai";
      fs::create_directories(file.parent_path());
      write_file(file, event_file(read_metrics(iteration / stage), stage,
                                  seconds_of(iteration / stage / "metrics.jsonl")));
      files.push_back(file);
    }
  if (files.empty()) throw InputError(run.string() + ": no training stage of this run has metrics yet");
  return files;
}

}  // namespace cai
