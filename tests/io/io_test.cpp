#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/io/safetensors.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  Folder() {
    static int n = 0;
    path = fs::temp_directory_path() / ("cai-io-" + std::to_string(getpid()) + "-" + std::to_string(n++));
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
};

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

Json record(std::size_t i) {
  return {{"id", "r" + std::to_string(i)}, {"text", std::string(i % 40, 'x') + "\n\"\u00fc\""}};
}

TEST(Json, SaysWhereItIsWrong) {
  EXPECT_NE(message_of([] { parse_json("{\n \"a\": 1,\n \"b\": }", "f.json"); }).find("f.json:3"),
            std::string::npos);
  EXPECT_NE(message_of([] { parse_json("{\"a\": 1, \"a\": 2}", "f.json"); }).find("duplicate field"),
            std::string::npos);
  EXPECT_NE(
      message_of([] { parse_json(std::string(300, '[') + std::string(300, ']'), "f.json"); }).find("200"),
      std::string::npos);
  EXPECT_NE(message_of([] { parse_json("\"\xff\"", "f.json"); }).find("UTF-8"), std::string::npos);
  EXPECT_EQ(parse_json("{\"z\": 1, \"a\": 2}", "f").begin().key(), "z");  // order kept
}

TEST(Json, HalfOfASurrogatePairIsNamedWithItsLine) {
  for (const char* text :
       {"{\n\"a\": \"hi \\ud83d\"}", "{\n\"a\": \"\\udc00\"}", "{\n\"a\": \"\\\\\\ud83d\\u0041\"}"}) {
    const std::string told = message_of([&] { parse_json(text, "f.json"); });
    EXPECT_NE(told.find("f.json:2: half of a surrogate pair, \\ud"), std::string::npos) << told;
  }
  EXPECT_EQ(parse_json("\"\\ud83d\\ude00 \\\\ud83d\"", "f"), "\U0001F600 \\ud83d");
}

// Objects are searched from the first field on: as many as a file of 16 MB can hold would take hours.
TEST(Json, AnObjectHasTenThousandFieldsAtMostAndATreeAnyNumber) {
  const auto object = [](int fields, const std::string& last) {
    std::string text = "{";
    for (int i = 0; i < fields; ++i)
      text += "\"" + std::to_string(i) + "\":" + std::to_string(i) + ",";
    return text + last + "}";
  };
  EXPECT_EQ(parse_json(object(9'999, "\"x\":1"), "f").size(), 10'000u);
  for (const std::string& last :
       {std::string("\"x\":1"),
        std::string("\"x\":\"\\ud83d\\ude00\"")})  // by the fast parser and by the other one
    EXPECT_NE(message_of([&] {
                parse_json(object(200'000, last), "f.json");
              }).find("f.json:1: an object has more than 10000 fields"),
              std::string::npos);
  EXPECT_EQ(parse_sorted_json(object(50'000, "\"x\":1"), "f").size(), 50'001u);
  EXPECT_NE(
      message_of([&] { parse_json(object(9'000, "\"8999\":1"), "f.json"); }).find("duplicate field \"8999\""),
      std::string::npos);
}

std::string any_text() {
  std::string text;
  for (int n = *rc::gen::inRange(0, 12); n > 0; --n)
    text += *rc::gen::elementOf(std::vector<std::string>{"a",          "plain text of more than eight bytes",
                                                         "\"",         "\\",
                                                         "\n",         "\t",
                                                         "\b",         "\f",
                                                         "\r",         std::string(1, '\0'),
                                                         "\x1f",       "\x7f",
                                                         "\u00fc",     "\u20ac",
                                                         "\U0001F600", "\u200b",
                                                         "\U000E0041", "\xff",
                                                         "\xe2\x82",   "\xed\xa0\x80",
                                                         "/",          "\\ud800"});
  return text;
}

Json any_json(int depth = 0) {
  switch (*rc::gen::inRange(0, depth < 3 ? 8 : 6)) {
    case 0: return nullptr;
    case 1: return *rc::gen::arbitrary<bool>();
    case 2: return *rc::gen::arbitrary<std::int64_t>();
    case 3: return *rc::gen::arbitrary<std::uint64_t>();
    case 4: return *rc::gen::arbitrary<double>();
    case 6: {
      Json list = Json::array();
      for (int n = *rc::gen::inRange(0, 5); n > 0; --n)
        list.push_back(any_json(depth + 1));
      return list;
    }
    case 7: {
      Json object = Json::object();
      for (int n = *rc::gen::inRange(0, 5); n > 0; --n)
        object[any_text()] = any_json(depth + 1);
      return object;
    }
    default: return any_text();
  }
}

std::string as_the_library_writes(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Two parsers and two writers of our own and the library's: nobody can tell which one a value went through.
RC_GTEST_PROP(Json, IsWrittenAsTheLibraryWritesItButForHiddenCharacters, ()) {
  const Json value = any_json();
  const std::string line = to_line(value), expected = as_the_library_writes(value);
  RC_ASSERT(printable(line) == line);
  RC_ASSERT(Json::parse(line) == Json::parse(expected));
  if (printable(expected) == expected) RC_ASSERT(line == expected);
}

RC_GTEST_PROP(Json, IsReadAsTheLibraryReadsIt, ()) {
  std::string text = as_the_library_writes(any_json());
  for (int edits = *rc::gen::inRange(0, 4); edits > 0; --edits)
    text.insert(*rc::gen::inRange<std::size_t>(0, text.size() + 1),
                *rc::gen::elementOf(std::vector<std::string>{" ",
                                                             ",",
                                                             ":",
                                                             "[",
                                                             "]",
                                                             "{",
                                                             "}",
                                                             "\"",
                                                             "\\",
                                                             "\\ud83d\\ude00",
                                                             "\\udc00",
                                                             "\\ud800",
                                                             "\\u0041",
                                                             "-",
                                                             "0",
                                                             "-0",
                                                             "1.5",
                                                             "e400",
                                                             "18446744073709551616",
                                                             "\xef\xbb\xbf",
                                                             "true",
                                                             "\n",
                                                             "\xff"}));
  Json read;
  try {
    read = parse_json(text, "f");
  } catch (const InputError& e) {
    const std::string reason = e.what();
    const bool is_ours = reason.find("twice") != reason.npos || reason.find("UTF-8") != reason.npos ||
                         reason.find("out of range") != reason.npos;
    RC_ASSERT(is_ours || !Json::accept(text));
    return;
  }
  const Json expected = Json::parse(text);
  RC_ASSERT(read == expected);
  RC_ASSERT(to_line(read) == to_line(expected));  // kinds of numbers, order of fields
}

TEST(Json, NestsTwoHundredDeep) {
  const auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(to_line(parse_json(nested(200), "f")), nested(200));
  EXPECT_THROW(parse_json(nested(201), "f"), InputError);
}

RC_GTEST_PROP(Json, NeverEndsOtherwiseThanByAnInputError, (std::string bytes)) {
  try {
    parse_json(bytes, "f");
  } catch (const InputError&) {
  }
}

// Whatever the order of writing, the batch and the moment of a crash: the folder is that of one uninterrupted
// writer.
RC_GTEST_PROP(Records, AreTheSameAfterAnyInterruption, ()) {
  const auto n = *rc::gen::inRange<std::size_t>(1, 60);
  const auto stops = *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, n));
  const long shard = *rc::gen::inRange<long>(1, 20);
  const Folder whole, broken;
  {
    RecordWriter w(whole.path, "s", "key", shard);
    for (std::size_t i = 0; i < n; ++i)
      w.write(i, record(i));
    w.finish({{"n", n}}, 1);
  }
  for (std::size_t stop : stops) {
    RecordWriter w(broken.path, "s", "key", shard);
    for (std::size_t i = w.already_written().size(); i < stop; ++i)
      w.write(i, record(i));
    if (stop % 2) w.flush();
  }
  // A torn line, as a crash in the middle of a write leaves it.
  for (const auto& entry : fs::directory_iterator(broken.path))
    if (entry.path().extension() == ".jsonl" && !fs::exists(broken.path / "manifest.json")) {
      fs::path last;
      for (const auto& e : fs::directory_iterator(broken.path))
        if (e.path().extension() == ".jsonl") last = std::max(last, e.path());
      const std::string kept = read_file(last);
      if (static_cast<long>(std::count(kept.begin(), kept.end(), '\n')) < shard)
        AppendFile(last, kept.size()).append("{\"id\": \"torn");
      break;
    }
  {
    RecordWriter w(broken.path, "s", "key", shard);
    for (std::size_t i = w.already_written().size(); i < n; ++i)
      w.write(i, record(i));
    w.finish({{"n", n}}, 2);
  }
  const auto a = read_manifest(whole.path), b = read_manifest(broken.path);
  RC_ASSERT(a && b && a->files.size() == b->files.size());
  for (std::size_t i = 0; i < a->files.size(); ++i)
    RC_ASSERT(a->files[i].file == b->files[i].file && a->files[i].sha256 == b->files[i].sha256 &&
              a->files[i].records == b->files[i].records);
  RC_ASSERT(read_records(broken.path).size() == n);
  RC_ASSERT(verify_manifest(broken.path).empty());
}

TEST(Records, ProgressCountsOnlyWhatIsDurable) {
  const Folder f;
  RecordWriter w(f.path / "stage", "s", "key");
  w.write(1, record(1));  // waits for its turn: a kill would lose it
  EXPECT_EQ(w.durable(), 0u);
  w.write(0, record(0));  // in the file, not yet synced
  EXPECT_EQ(w.durable(), 0u);
  w.flush();
  EXPECT_EQ(w.durable(), 2u);
  for (std::size_t i = 2; i < 70; ++i)
    w.write(i, record(i));  // may sync by itself, by the clock
  EXPECT_LE(w.durable(), 70u);
  w.flush();
  EXPECT_EQ(w.durable(), 70u);
}

TEST(Records, ALineWithoutItsHashIsMadeAgain) {  // blocks may reach the disk in any order before a power loss
  const Folder f;
  const fs::path stage = f.path / "stage";
  {
    RecordWriter w(stage, "s", "key");
    for (std::size_t i = 0; i < 9; ++i)
      w.write(i, record(i));
    w.flush();
  }
  std::string text = read_file(stage / "00000.jsonl");
  text.replace(text.find("r4"), 2, "r5");  // still JSON
  write_file(stage / "00000.jsonl", text);
  RecordWriter w(stage, "s", "key");
  ASSERT_EQ(w.already_written().size(), 4u);
  EXPECT_EQ(w.already_written()[3], record(3));
  EXPECT_EQ(w.durable(), 4u);
}

TEST(Records, OutOfOrderWritesComeOutInOrder) {
  const Folder f;
  RecordWriter w(f.path, "s", "key");
  for (std::size_t i : {2u, 0u, 1u, 4u, 3u})
    w.write(i, record(i));
  w.finish({}, 0);
  const std::vector<Json> all = read_records(f.path);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i], record(i));
}

TEST(Records, AnotherKeyPutsTheUnfinishedFolderAside) {
  const Folder f;
  const fs::path stage = f.path / "stage";
  {
    RecordWriter w(stage, "s", "one");
    w.write(0, record(0));
    w.flush();
  }
  {
    RecordWriter w(stage, "s", "two");
    EXPECT_TRUE(w.already_written().empty());
    w.write(0, record(7));
    w.finish({}, 0);
  }
  EXPECT_EQ(read_records(stage)[0], record(7));
  int aside = 0;
  for (const auto& e : fs::directory_iterator(f.path))
    aside += e.path().filename().string().find("stale") != std::string::npos;
  EXPECT_EQ(aside, 1);
}

TEST(
    Records,
    AFileThatWasNeverPublishedIsNoWork) {  // killed between creating the folder and publishing its first file
  const Folder f;
  const fs::path stage = f.path / "stage";
  fs::create_directories(stage);
  {
    AppendFile half(stage / "progress.json.tmp", 0);
    half.append("{\"sta");
  }
  {
    RecordWriter w(stage, "s", "key");
    w.write(0, record(0));
    w.finish({}, 0);
  }
  EXPECT_EQ(read_records(stage)[0], record(0));
  EXPECT_FALSE(fs::exists(stage / "progress.json.tmp"));
  EXPECT_FALSE(fs::exists(f.path / "stage.stale-1"));
}

TEST(Records, AnyFlippedByteIsFound) {
  const Folder f;
  {
    RecordWriter w(f.path, "s", "key");
    for (std::size_t i = 0; i < 20; ++i)
      w.write(i, record(i));
    w.finish({}, 0);
  }
  const fs::path shard = f.path / "00000.jsonl";
  const std::string good = read_file(shard);
  for (std::size_t at = 0; at < good.size(); at += 7) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    write_file(shard, bad);
    EXPECT_FALSE(verify_manifest(f.path).empty());
    EXPECT_NE(message_of([&] { read_records(f.path); }).find("00000.jsonl"), std::string::npos) << at;
  }
}

TEST(Records, AreNotTakenWhereTheManifestHasNoHash) {
  const Folder f;
  write_file(f.path / "00000.jsonl", "{\"id\": \"x\"}\n");
  write_manifest(f.path, {"s", "key", {{"00000.jsonl", 1, ""}}, Json::object(), 0});
  EXPECT_NE(message_of([&] { read_records(f.path); }).find("00000.jsonl: SHA-256 is"), std::string::npos);
}

TEST(Records, MayBeNone) {
  const Folder f;
  {
    RecordWriter w(f.path / "stage", "s", "key");
    w.finish({}, 0);
  }
  EXPECT_TRUE(read_records(f.path / "stage").empty());
}

TEST(Records, BadLinesAreNamed) {
  const Folder f;
  write_file(f.path / "a.jsonl", "{\"id\": \"x\"}\n[1]\n");
  EXPECT_NE(message_of([&] { read_records(f.path / "a.jsonl"); }).find("a.jsonl:2"), std::string::npos);
  write_file(f.path / "b.jsonl", "{\"id\": \"x\"}\n{\"id\": \"x\"}\n");
  EXPECT_NE(message_of([&] { read_records(f.path / "b.jsonl"); }).find("b.jsonl:2"), std::string::npos);
  // Shards are read at the same time: what is wrong first, in their order, is said.
  const fs::path folder = f.path / "shards";
  fs::create_directories(folder);
  write_file(folder / "0.jsonl", "{\"id\": \"x\"}\n\n{\"id\": \"y\"}\n");
  write_file(folder / "1.jsonl", "{\"id\": \"z\"}\n{\"id\": \"y\", \"model\": \"m\"}\n{\"id\": \"y\"}\n");
  write_file(folder / "2.jsonl", "[1]\n");
  EXPECT_NE(message_of([&] { read_records(folder); }).find("1.jsonl:3: duplicate id \"y\""),
            std::string::npos);
  write_file(folder / "1.jsonl", "{\"id\": \"z\"}\n");
  EXPECT_NE(message_of([&] { read_records(folder); }).find("2.jsonl:1"), std::string::npos);
  remove_path(folder / "2.jsonl");
  EXPECT_EQ(read_records(folder)[2], (Json{{"id", "z"}}));
}

TEST(Sealed, AnyChangeIsToldAndTheValueComesBackWithoutTheSeal) {
  const Folder f;
  const fs::path file = f.path / "run.json";
  const Json value = {{"seed", 1}, {"rate", 0.1}, {"name", "\u00fc\n"}};
  write_sealed(file, value);
  EXPECT_EQ(read_sealed(file), value);
  std::string text = read_file(file);
  text.replace(text.find("0.1"), 3, "0.2");
  write_file(file, text);
  EXPECT_NE(message_of([&] { read_sealed(file); }).find("run.json: checksum mismatch"), std::string::npos);
  write_file(file, "{\"seed\": 1}");
  EXPECT_NE(message_of([&] { read_sealed(file); }).find("run.json: checksum mismatch"), std::string::npos);
}

TEST(File, CreateFoldersMakesWhatIsMissing) {
  const Folder f;
  create_folders(f.path / "a/b/c");
  EXPECT_TRUE(fs::is_directory(f.path / "a/b/c"));
  create_folders(f.path / "a/b/");
  write_file(f.path / "file", "x");
  EXPECT_NE(message_of([&] { create_folders(f.path / "file/below"); }).find("file"), std::string::npos);
}

TEST(File, RecordsAreForTheirOwnerAloneAndModelsForAll) {
  const Folder f;
  const auto mode = [&](const fs::path& file) {
    return static_cast<int>(fs::status(f.path / file).permissions());
  };
  write_file(f.path / "a.jsonl", "x"), write_file(f.path / "a.json", "x");
  {
    AppendFile records(f.path / "b.jsonl", 0), answers(f.path / "endpoint.answers", 0),
        model(f.path / "m.gguf", 0);
  }
  for (const char* name : {"a.jsonl", "b.jsonl", "endpoint.answers"})
    EXPECT_EQ(mode(name), 0600) << name;
  for (const char* name : {"a.json", "m.gguf"})
    EXPECT_EQ(mode(name) & 0700, 0600) << name;
  fs::permissions(f.path / "a.jsonl", fs::perms(0640));
  write_file(f.path / "a.jsonl", "y");
  EXPECT_EQ(mode("a.jsonl"), 0640) << "what a person allowed stays allowed";
}

TEST(FolderLock, IsHeldByOneProcessAtATime) {
  const Folder f;
  const FolderLock lock(f.path);
  const pid_t child = fork();
  if (child == 0) {
    const std::string m = message_of([&] { FolderLock second(f.path); });
    _exit(m.find(std::to_string(getppid())) != std::string::npos ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// Hostile containers: cut or flipped anywhere, a reader ends with an error that names the file, or reads
// something.
template <class Read>
void survives(const fs::path& file, Read read) {
  const std::string good = read_file(file);
  const Folder f;
  const fs::path copy = f.path / file.filename();
  for (std::size_t i = 0; i < 400; ++i) {
    std::string bad = good;
    if (i % 4 == 0)
      bad.resize(good.size() * i / 400);
    else
      bad[(i * 131) % std::min<std::size_t>(bad.size(), 2000)] = static_cast<char>(i * 37 + 1);
    write_file(copy, bad);
    const std::string m = message_of([&] { read(copy); });
    if (!m.empty()) {
      EXPECT_NE(m.find(file.filename().string()), std::string::npos) << m;
    }
  }
}

TEST(Gguf, SurvivesBrokenFiles) {
  survives(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/blocks.gguf",
           [](const fs::path& p) { read_gguf(p); });
}

TEST(Safetensors, SurvivesBrokenFiles) {
  survives(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/llama-tied/model.safetensors",
           [](const fs::path& p) { read_safetensors(p); });
}

}  // namespace
}  // namespace cai
