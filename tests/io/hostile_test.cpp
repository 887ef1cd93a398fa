// Files of other tools and of nobody's friends.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-hostile-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), kBadInput);
    return e.what();
  }
  return "accepted";
}

using namespace std::string_literals;

TEST(Lines, ShowNothingHiddenAndReadBackTheSame) {
  const std::string text =
      "\0\x1b[31m\x7f \xc2\x9b \xe2\x80\xae \xef\xbb\xbf \xf3\xa0\x81\x81 \xf0\x9f\x8c\x8d \"\\/\n"s;
  const Json value = {{text, {text, 1.5, nullptr}}};
  for (const std::string& shown : {to_line(value), to_lines(value)}) {
    EXPECT_EQ(printable(shown), shown);
    EXPECT_EQ(parse_json(shown, "again"), value);
  }
  EXPECT_NE(to_line(value).find("\\udb40\\udc41"),
            std::string::npos);  // a tag character as JSON's pair of surrogates
  EXPECT_NE(to_line(value).find("\xf0\x9f\x8c\x8d"), std::string::npos);
}

TEST(ParseJson, RefusesANumberThatIsNone) {
  EXPECT_EQ(refusal([] { parse_json("[1e999]", "f"); }), "f:1: a number is out of range");
}

TEST(ParseJson, TellsAHostileKeyInOneLine) {
  EXPECT_EQ(refusal([] { parse_json(R"({"a\nforged: \u001b": 1, "a\nforged: \u001b": 2})", "f"); }),
            "f:1: duplicate field \"a\\nforged: \\x1b\"");
}

TEST(Records, TakeAFieldOfAnotherTypeAsData) {
  Folder folder;
  write_file(folder.path / "r.jsonl", "{\"id\": \"a\", \"model\": 7}\n{\"id\": [1], \"model\": null}\n");
  EXPECT_EQ(read_records(folder.path / "r.jsonl").size(), 2u);
}

TEST(Manifests, NameNothingOutsideTheirFolder) {
  Folder folder;
  for (const char* name : {"/etc/passwd", "../x.jsonl", "a/../../x", ""}) {
    write_sealed(folder.path / "manifest.json",
                 {{"stage", "s"},
                  {"key", "k"},
                  {"files", {{{"file", name}, {"records", 1}, {"sha256", ""}}}},
                  {"figures", Json::object()}});
    EXPECT_NE(refusal([&] { read_records(folder.path); }).find("is not in this folder"), std::string::npos)
        << name;
  }
}

}  // namespace
}  // namespace cai
