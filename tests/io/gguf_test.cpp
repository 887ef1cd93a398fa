// GGUF files that a test makes itself: types by their names, and models split into parts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-gguf-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string text(const std::string& s) {
  return raw(std::uint64_t{s.size()}) + s;
}

// A file of F32 tensors (or of another type's number) with one value each: its number in the list.
std::string file_of(const std::vector<std::pair<std::string, std::uint32_t>>& metadata,
                    const std::vector<std::string>& tensors, std::uint32_t type = 0) {
  std::string file = "GGUF" + raw(std::uint32_t{3}) + raw(std::uint64_t{tensors.size()}) +
                     raw(std::uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata)
    file += text(key) + raw(std::uint32_t{4}) + raw(value);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    file += text(tensors[i]) + raw(std::uint32_t{1}) + raw(std::uint64_t{1}) + raw(type) +
            raw(std::uint64_t{32 * i});
  file.resize((file.size() + 31) / 32 * 32);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    file += raw(static_cast<float>(i));
    file.resize((file.size() + 31) / 32 * 32);
  }
  return file;
}

std::string part(std::uint32_t number, std::uint32_t count, const std::vector<std::string>& tensors) {
  return file_of({{"split.no", number}, {"split.count", count}}, tensors);
}

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Gguf, CallsATypeThatIsNotReadByItsName) {
  const Folder f;
  for (const auto& [type, name] : {std::pair{16u, "IQ2_XXS"}, {39u, "MXFP4"}, {77u, "number 77"}}) {
    write_file(f.path / "m.gguf", file_of({}, {"w"}, type));
    const std::string message = refusal([&] { read_gguf(f.path / "m.gguf"); });
    EXPECT_NE(message.find("tensor \"w\" is of type " + std::string(name) + "; accepted: F32, "),
              std::string::npos)
        << message;
  }
}

struct Split : testing::Test {
  const Folder f;
  const fs::path first = f.path / "m-00001-of-00003.gguf", second = f.path / "m-00002-of-00003.gguf",
                 third = f.path / "m-00003-of-00003.gguf";
  Split() {
    write_file(first, part(0, 3, {}));
    write_file(second, part(1, 3, {"a", "b"}));
    write_file(third, part(2, 3, {"c", "d"}));
  }
  std::string refused() const {
    return refusal([&] { read_gguf(first); });
  }
};

TEST_F(Split, IsReadWithAllParts) {
  const GgufFile file = read_gguf(first);
  ASSERT_EQ(file.tensors.size(), 4u);
  float last = 0;
  std::memcpy(&last, file.tensors[3].bytes.data(), sizeof last);
  EXPECT_EQ(file.tensors[3].name, "d");
  EXPECT_EQ(last, 1);
  EXPECT_EQ(gguf_parts(first), (std::vector<fs::path>{first, second, third}));
  EXPECT_EQ(gguf_in_folder(f.path), first);
}

TEST_F(Split, NamesAMissingPart) {
  remove_path(second);
  EXPECT_EQ(refused(), second.string() + ": is missing: part 2 of 3 of this model");
  write_file(second, part(1, 3, {"a", "b"}));
  remove_path(first);
  EXPECT_EQ(gguf_in_folder(f.path), first);  // so that this one is named as missing
}

TEST_F(Split, NamesAForeignPart) {
  write_file(second, part(2, 3, {"a", "b"}));
  EXPECT_NE(refused().find("m-00002-of-00003.gguf: is not part 2 of 3, as its name says: it is part 3 of 3"),
            std::string::npos);
  write_file(second, part(1, 4, {"a", "b"}));
  EXPECT_NE(refused().find("it is part 2 of 4"), std::string::npos);
  write_file(second, file_of({}, {"a", "b"}));
  EXPECT_NE(refused().find("it is part 1 of 0"), std::string::npos);
  write_file(second, part(1, 3, {"a", "c"}));
  EXPECT_NE(refused().find("m-00003-of-00003.gguf: is a part of another model: tensor \"c\""),
            std::string::npos);
}

TEST_F(Split, IsNamedByItsFirstPart) {
  EXPECT_NE(refusal([&] {
              read_gguf(third);
            }).find("is part 3 of 3 of a split model; give the first part, m-00001-of-00003.gguf"),
            std::string::npos);
  for (const char* name :
       {"m.gguf", "m-00001-of-00002.gguf", "m-0001-of-0003.gguf", "-00001-of-00003.gguf"}) {
    fs::copy(first, f.path / name);
    EXPECT_NE(refusal([&] { read_gguf(f.path / name); }).find("must be named NAME-00001-of-00003.gguf"),
              std::string::npos)
        << name;
  }
  for (const std::uint32_t count : {100000u, 4000000000u}) {
    write_file(first, part(count - 1, count, {}));
    EXPECT_NE(refused().find("at most 99999 is accepted"), std::string::npos);
  }
}

TEST_F(Split, OfAnotherModelBesideItIsAmbiguous) {
  write_file(f.path / "n-00001-of-00002.gguf", part(0, 2, {}));
  EXPECT_NE(refusal([&] { gguf_in_folder(f.path); }).find("several .gguf files here"), std::string::npos);
}

}  // namespace
}  // namespace cai
