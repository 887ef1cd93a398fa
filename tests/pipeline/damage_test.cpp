// One flipped bit anywhere in what a run leaves: told by name when it is read, or without effect. CAI_FLIPS:
// how many a kind (200).
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/random.hpp"
#include "cai/config/config.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kSeed = 1;

int flips() {
  const char* given = std::getenv("CAI_FLIPS");
  return given ? std::atoi(given) : 200;
}

void put(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "cai-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    set_log_level(LogLevel::kOff);
  }
  void TearDown() override {
    set_log_level(LogLevel::kInfo);
    fs::remove_all(folder_);
  }

  // Flips one bit of `file` again and again. `use` reads what it belongs to: it throws an InputError that
  // names a file of the folder, or returns the same as without the flip.
  void flip(const fs::path& file, const std::function<std::string()>& use) {
    const std::string good = read_file(file), expected = use();
    Random random = Random(kSeed).derive(file.filename().string());
    int detected = 0, harmless = 0;
    for (int i = 0; i < flips(); ++i) {
      const std::size_t at = random.below(good.size());
      const int bit = static_cast<int>(random.below(8));
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      put(file, bad);
      try {
        EXPECT_EQ(use(), expected) << file << ", bit " << bit << " of byte " << at
                                   << ": read as something else";
        ++harmless;
      } catch (const InputError& told) {
        EXPECT_NE(std::string(told.what()).find(folder_.string()), std::string::npos) << told.what();
        ++detected;
      }
      if (HasFailure()) return;
    }
    put(file, good);
    std::printf("seed %d, %s: %d flips, %d told, %d without effect\n", static_cast<int>(kSeed),
                file.filename().c_str(), flips(), detected, harmless);
  }

  fs::path folder_;
};

Json record(int i) {
  return {{"id", "r" + std::to_string(i)},
          {"prompt", "What is " + std::to_string(i) + "?"},
          {"response", "Just a number, \u00fc."}};
}

std::string all_of(const std::vector<Json>& records) {
  std::string text;
  for (const Json& one : records)
    text += to_line(one) + "\n";
  return text;
}

TEST_F(Damage, OfAFinishedStageOfRecordsIsTold) {
  const fs::path stage = folder_ / "generate";
  {
    RecordWriter out(stage, "generate", "key", 16);
    for (int i = 0; i < 40; ++i)
      out.write(static_cast<std::size_t>(i), record(i));
    out.finish({{"records", 40}, {"mean_tokens", 12.5}}, 1.5);
  }
  for (const char* file : {"00001.jsonl", "manifest.json"})
    flip(stage / file, [&] {
      const Manifest m = *read_manifest(stage);
      return all_of(read_records(stage)) + m.key + m.stage + to_line(m.figures) + std::to_string(m.seconds);
    });
}

// What an unfinished stage holds is never taken for something else: a damaged line and those after it are
// made again.
TEST_F(Damage, OfAnUnfinishedStageOfRecordsIsMadeAgain) {
  const fs::path good = folder_ / "good", stage = folder_ / "generate";
  {
    RecordWriter out(good, "generate", "key", 16);
    for (int i = 0; i < 40; ++i)
      out.write(static_cast<std::size_t>(i), record(i));
    out.flush();
  }
  for (const char* file : {"00001.jsonl", "00002.jsonl", "progress.hashes", "progress.json"})
    flip(good / file, [&] {
      fs::remove_all(stage);
      fs::copy(good, stage);
      {
        RecordWriter out(stage, "generate", "key", 16);
        for (std::size_t i = out.already_written().size(); i < 40; ++i)
          out.write(i, record(static_cast<int>(i)));
        out.finish({}, 0);
      }
      return all_of(read_records(stage));
    });
}

TEST_F(Damage, OfRunJsonAndConfigIsTold) {
  write_sealed(folder_ / "run.json",
               {{"state", "done"},
                {"seed", 1},
                {"stages", {{"iter-01/generate", {{"seconds", 3.25}, {"tokens", 1200}}}}}});
  flip(folder_ / "run.json", [&] { return to_line(read_run_json(folder_)); });

  Config config;
  config.origin["seed"] = "--seed";
  put(folder_ / "config.yaml", to_sealed_yaml(config));
  flip(folder_ / "config.yaml", [&] { return to_yaml(load_config(folder_ / "config.yaml", {}), false); });
}

TEST_F(Damage, OfACheckpointOrAnExportIsTold) {
  const fs::path stage = folder_ / "sft", golden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden",
                 text = fs::path(CAI_SOURCE_DIR) / "tests/text/golden";
  fs::create_directories(stage / "checkpoint");
  fs::copy(golden / "llama-tied/model.safetensors", stage / "checkpoint/model.safetensors");
  fs::copy(golden / "llama-tied/config.json", stage / "checkpoint/config.json");
  put(stage / "checkpoint/tokenizer.json", read_file(text / "qwen2.json").substr(0, 20000));
  fs::create_directories(folder_ / "export");
  fs::copy(golden / "blocks.gguf", folder_ / "export/model.gguf");
  const auto list = [](const fs::path& folder, const std::vector<std::string>& files) {
    Manifest manifest{"sft", "key", {}, {}, 0};
    for (const std::string& file : files)
      manifest.files.push_back({file, -1, sha256_file(folder / file)});
    write_manifest(folder, manifest);
  };
  list(stage, {"checkpoint/config.json", "checkpoint/model.safetensors", "checkpoint/tokenizer.json"});
  list(folder_ / "export", {"model.gguf"});
  for (const char* file : {"model.safetensors", "config.json", "tokenizer.json"})
    for (const fs::path& named : {stage, stage / "checkpoint"})
      flip(stage / "checkpoint" / file, [&] { return find_model(named.string()).string(); });
  for (const fs::path& named : {folder_ / "export", folder_ / "export/model.gguf"})
    flip(folder_ / "export/model.gguf", [&] { return find_model(named.string()).string(); });
}

}  // namespace
}  // namespace cai
