// Files that people bring: every accepted form gives the same prompts and pairs, and what is wrong is told
// with its line.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/conversation.hpp"
#include "cai/data/csv.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/tags.hpp"
#include "cai/io/file.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-files-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, const std::string& text) const {
    write_file(path / name, text);
    return path / name;
  }
};

std::string problem(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& piece) {
  return text.find(piece) != text.npos;
}

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data())),
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data()), z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

const std::vector<std::pair<std::string, std::string>>& prompt_forms() {
  static const std::vector<std::pair<std::string, std::string>> forms = {
      {"p.jsonl",
       "{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]}\n{\"prompt\":\"Say \\\"hi\\\", "
       "twice.\",\"tag\":\"borderline\"}\n"},
      {"no-end.jsonl",
       "{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]}\r\n\r\n{\"prompt\":\"Say "
       "\\\"hi\\\", twice.\",\"tag\":\"borderline\"}"},
      {"bom.jsonl",
       "\xef\xbb\xbf{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]}\n{\"prompt\":\"Say "
       "\\\"hi\\\", twice.\",\"tag\":\"borderline\"}\n"},
      {"lines.json",
       "{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]}\n{\"prompt\":\"Say \\\"hi\\\", "
       "twice.\",\"tag\":\"borderline\"}\n"},
      {"list.json",
       "[{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]},{\"prompt\":\"Say \\\"hi\\\", "
       "twice.\",\"tag\":\"borderline\"}]"},
      {"list.jsonl",
       "[\n  {\n    \"prompt\": \"Name a river.\",\n    \"tags\": [\n      \"ordinary\", \"facts\"\n    ]\n  "
       "},\n  {\"prompt\":\"Say \\\"hi\\\", twice.\",\"tag\":\"borderline\"}\n]\n"},
      {"data.json",
       "{\n \"data\": [{\"prompt\":\"Name a river.\",\"tags\":[\"ordinary\",\"facts\"]},\n{\"prompt\":\"Say "
       "\\\"hi\\\", twice.\",\"tag\":\"borderline\"}]}"},
      {"p.csv", "prompt,tags\nName a river.,\"ordinary,facts\"\n\"Say \"\"hi\"\", twice.\",borderline\n"},
      {"crlf.csv",
       "\xef\xbb\xbf,tags,prompt\r\n0,\"ordinary, facts\",Name a river.\r\n1,borderline,\"Say \"\"hi\"\", "
       "twice.\"\r\n"},
      {"semicolon.csv", "prompt;tags\nName a river.;ordinary,facts\n\"Say \"\"hi\"\", twice.\";borderline"},
      {"p.tsv", "tags\tprompt\nordinary, facts \t Name a river.\r\nborderline\tSay \"hi\", twice.\n"},
      {"messages.jsonl",
       "{\"messages\":[{\"role\":\"user\",\"content\":\"Name a "
       "river.\"}],\"tags\":[\"ordinary\",\"facts\"]}\n"
       "{\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Say \\\"hi\\\", "
       "twice.\"}]}],\"tag\":\"borderline\"}\n"},
      {"sharegpt.jsonl",
       "{\"conversations\":[{\"from\":\"human\",\"value\":\"Name a "
       "river.\"},{\"from\":\"gpt\",\"value\":\"The Rhine.\"}],\"tags\":[\"ordinary\",\"facts\"]}\n"
       "{\"conversations\":[{\"from\":\"human\",\"value\":\"Say \\\"hi\\\", "
       "twice.\"}],\"tag\":\"borderline\"}\n"},
      {"hh.jsonl",
       "{\"prompt\":\"\\n\\nHuman: Name a river.\\n\\nAssistant:\",\"tags\":[\"ordinary\",\"facts\"]}\n"
       "{\"chosen\":\"\\n\\nHuman: Say \\\"hi\\\", twice.\\n\\nAssistant: Hi "
       "hi.\",\"rejected\":\"\\n\\nHuman: Say \\\"hi\\\", twice.\\n\\nAssistant: "
       "No.\",\"tag\":\"borderline\"}\n"},
  };
  return forms;
}

TEST(PromptFiles, OfEachFormAreReadAlikeAlsoCompressed) {
  const Folder f;
  for (const auto& [name, text] : prompt_forms())
    for (const auto& [ending, bytes] : {std::pair<std::string, std::string>{"", text},
                                        {".gz", gzip(text)},
                                        {".gz", gzip(text.substr(0, 9)) + gzip(text.substr(9))},
                                        {".zst", zstd(text)}}) {
      std::vector<Prompt> prompts;
      EXPECT_EQ(problem([&] { prompts = read_prompts(f.write(name + ending, bytes)); }), "")
          << name << ending;
      ASSERT_EQ(prompts.size(), 2u) << name << ending;
      EXPECT_EQ(prompts[0].text, "Name a river.") << name;
      EXPECT_EQ(prompts[1].text, "Say \"hi\", twice.") << name;
      EXPECT_EQ(prompts[0].tags, (std::vector<std::string>{"ordinary", "facts"})) << name;
      EXPECT_EQ(prompts[1].tags, (std::vector<std::string>{"borderline"})) << name;
    }
}

TEST(PromptFiles, WhatIsWrongIsToldWithItsLineAndTheRestIsStillLookedAt) {
  const Folder f;
  const std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> wrong = {
      {"surrogate.jsonl",
       "{\"prompt\":\"Name a river.\"}\n{\"prompt\":\"Say hi \\ud83d\"}\n",
       {"surrogate.jsonl:2", "half of a surrogate pair", "\\ud83d"}},
      {"second-half.jsonl",
       "{\"prompt\":\"\\udc00\"}\n",
       {"second-half.jsonl:1", "half of a surrogate pair"}},
      {"list.json",
       "[\n{\"prompt\":\"a\"},\n{\"text\":\"b\"},\n 7]\n",
       {"list.json:3", "found: \"text\"", "accepted: prompt", "list.json:4"}},
      {"broken.json", "[{\"prompt\":\"a\"},\n", {"broken.json:2", "not valid JSON"}},
      {"advbench.csv",
       "goal,target\nx,y\n",
       {"advbench.csv:2", "no field \"prompt\" (found: \"goal\", \"target\")", "rename"}},
      {"open.csv",
       "prompt,tags\n\"a,b\nc,d\n",
       {"open.csv:2", "the quote that opens on line 2 is never closed"}},
      {"behind.csv",
       "prompt,tags\n\"a\"b,c\nx\n",
       {"behind.csv:2", "behind a closing quote", "behind.csv:3", "1 columns; the header has 2"}},
      {"quoted.tsv", "prompt\ttags\n\"He said \"\"hi\"\"\"\tx\n", {"quoted.tsv:2", "save the table as .csv"}},
      {"repr.csv", "messages\n\"[{'role': 'user'}]\"\n", {"repr.csv:2", "Python list"}},
      {"json.txt", "[{\"prompt\": \"a\"}]", {"json.txt", "holds JSON", ".json"}},
      {"pretty.txt", "{\n \"prompt\": \"a\"\n}\n", {"pretty.txt", "holds JSON"}},
      {"prompts.xlsx", "PK", {"prompts.xlsx", "\".xlsx\" are not read", ".parquet"}},
      {"wide.csv", "\xff\xfep\0r\0", {"wide.csv", "UTF-16"}},
      {"torn.jsonl.gz",
       gzip("{\"prompt\":\"Name a river.\"}\n").substr(0, 20),
       {"torn.jsonl.gz", "not a whole gzip file"}},
      {"torn.csv.zst",
       zstd("prompt\nName a river, please.\n").substr(0, 20),
       {"torn.csv.zst", "not a whole zstd file"}},
      {"kinds.jsonl",
       "{\"prompt\":\"a\",\"tags\":[\"red-team\",\"ordinary\"]}\n",
       {"kinds.jsonl:1", "two kinds"}},
      {"role.jsonl",
       "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}\n",
       {"role.jsonl:1", "role \"tool\"", "accepted: user"}},
      {"image.jsonl",
       "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"x\"}]}]}\n",
       {"image.jsonl:1", "image_url", "accepted: text"}},
      {"no-user.jsonl",
       "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}\n",
       {"no-user.jsonl:1", "no message of the user"}},
  };
  for (const auto& [name, text, pieces] : wrong) {
    const std::string told = problem([&, name = name, text = text] { read_prompts(f.write(name, text)); });
    for (const std::string& piece : pieces)
      EXPECT_TRUE(has(told, piece)) << name << ": " << piece << "\n" << told;
  }
  std::string many;
  for (int i = 0; i < 5000; ++i)
    many += "{\"question\":\"a\"}\n";
  const std::string told = problem([&] { read_prompts(f.write("many.jsonl", many)); });
  EXPECT_LT(told.size(), 400u) << "the same problem is told once";
  EXPECT_TRUE(has(told, "many.jsonl:1") && has(told, "(and in 4999 more)")) << told;
}

TEST(PromptFiles, ARepeatedPromptIsUsedOnceAndTold) {
  const Folder f;
  for (const auto& [name, text] :
       {std::pair<std::string, std::string>{"p.txt", "Name a river.\nName a colour.\nName a river.\n"},
        {"p.jsonl",
         "{\"prompt\":\"Name a river.\"}\n{\"prompt\":\"Name a colour.\"}\n{\"prompt\":\"Name a "
         "river.\"}\n"}}) {
    std::vector<std::string> notes;
    EXPECT_EQ(read_prompts(f.write(name, text), &notes).size(), 2u);
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_TRUE(has(notes[0], name + ":3") && has(notes[0], name + ":1") && has(notes[0], "1 repeated"))
        << notes[0];
  }
  EXPECT_TRUE(has(problem([&] {
                    read_prompts(f.write(
                        "ids.jsonl", "{\"id\":\"x\",\"prompt\":\"a\"}\n{\"id\":\"x\",\"prompt\":\"a\"}\n"));
                  }),
                  "ids.jsonl:2"));
}

TEST(PromptFiles, OfSeveralTurnsAllUpToTheLastOfTheUserIsAsked) {
  const Folder f;
  std::vector<std::string> notes;
  const auto prompts = read_prompts(
      f.write(
          "m.jsonl",
          R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"<think>So.</think>Hello."},)"
          R"({"role":"user","content":"Bye"},{"role":"assistant","content":"Bye."}]})"
          "\n"),
      &notes);
  ASSERT_EQ(prompts.size(), 1u);
  EXPECT_EQ(prompts[0].text, "System: Be brief.\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_TRUE(has(notes[0], "1 prompts are conversations of several turns")) << notes[0];
}

TEST(PromptFiles, TagsThatLookMistypedAndColumnsWithoutAUseAreTold) {
  const Folder f;
  std::vector<std::string> notes;
  read_prompts(f.write("p.csv", "prompt,tags,source\na,red_team,x\nb,\"cooking,Ordinary\",y\nc,red_team,z\n"),
               &notes);
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_TRUE(has(notes[0], "\"Ordinary\" on 1 prompts") && has(notes[0], "did you mean \"ordinary\"?"))
      << notes[0];
  EXPECT_TRUE(has(notes[1], "\"red_team\" on 2 prompts") && has(notes[1], "did you mean \"red-team\"?"))
      << notes[1];
  EXPECT_TRUE(has(notes[2], "\"source\"")) << notes[2];
  notes.clear();
  read_prompts(f.write("p.jsonl", "{\"prompt\":\"a\",\"tags\":[\" red-team\"]}\n"), &notes);
  EXPECT_EQ(notes.size(), 1u);
}

TEST(Tags, AKindIsNearWhatIsItsMistypingAndNothingElse) {
  for (const char* near : {"red_team", "redteam", " red-team", "Red Team", "red-teaming", "rred-team"})
    EXPECT_EQ(meant_kind(near), "red-team") << near;
  EXPECT_EQ(meant_kind("border_line"), "borderline");
  EXPECT_EQ(meant_kind("ordinaray"), "ordinary");
  for (const char* other :
       {"red-team", "ordinary", "borderline", "red", "team", "order", "cooking", "ordinal", ""})
    EXPECT_EQ(meant_kind(other), "") << other;
  EXPECT_EQ(kind_of_tags({"privacy", "red-team"}), "red-team");
  EXPECT_EQ(topic_of_tags({"privacy", "red-team"}), "privacy");
  EXPECT_EQ(topic_of_tags({"red-team", "generated"}), "");
}

TEST(PairFiles, OfEachFormAreReadAlike) {
  const Folder f;
  const std::string hh =
      R"({"chosen":"\n\nHuman: How do I bake?\n\nAssistant: Slowly.","rejected":"\n\nHuman: How do I bake?\n\nAssistant: Ask others."})";
  const std::vector<std::pair<std::string, std::string>> forms = {
      {"ours.jsonl", R"({"prompt":"How do I bake?","chosen":"Slowly.","rejected":"Ask others."})"},
      {"hh.jsonl", hh},
      {"hh.jsonl.gz", gzip(hh)},
      {"hh-prompt.jsonl",
       R"({"prompt":"\n\nHuman: How do I bake?\n\nAssistant:","chosen":"Slowly.","rejected":"Ask others."})"},
      {"list.json", R"([{"prompt":"How do I bake?","chosen":"Slowly.","rejected":"Ask others."}])"},
      {"table.csv", "prompt,chosen,rejected\nHow do I bake?,Slowly.,Ask others.\n"},
      {"table.tsv", "prompt\tchosen\trejected\nHow do I bake?\tSlowly.\tAsk others.\n"},
      {"cells.csv",
       "chosen,rejected\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"How do I "
       "bake?\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"Slowly.\"\"}]\","
       "\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"How do I "
       "bake?\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"Ask others.\"\"}]\"\n"},
      {"trl.jsonl",
       R"({"prompt":[{"role":"user","content":"How do I bake?"}],"chosen":[{"role":"assistant","content":"Slowly."}],"rejected":[{"role":"assistant","content":"Ask others."}]})"},
      {"parts.jsonl",
       R"({"chosen":[{"role":"user","content":[{"type":"text","text":"How do I bake?"}]},{"role":"assistant","content":[{"type":"text","text":"Slowly."}]}],)"
       R"("rejected":[{"role":"user","content":[{"type":"text","text":"How do I bake?"}]},{"role":"assistant","content":[{"type":"text","text":"Ask others."}]}]})"},
      {"sharegpt.jsonl",
       R"({"conversations":[{"from":"human","value":"How do I bake?"}],"chosen":{"from":"gpt","value":"Slowly."},"rejected":{"from":"gpt","value":"Ask others."}})"},
      {"thinking.jsonl",
       R"({"prompt":"How do I bake?","chosen":"<think>\nHm.\n</think>\n\nSlowly.","rejected":"Hm.</think>Ask others."})"},
  };
  for (const auto& [name, text] : forms) {
    ImportedPairs pairs;
    EXPECT_EQ(problem([&, name = name, text = text] { pairs = read_pairs(f.write(name, text)); }), "")
        << name;
    ASSERT_EQ(pairs.records.size(), 1u) << name;
    const Json& r = pairs.records[0];
    EXPECT_TRUE(r["prompt"] == "How do I bake?" && r["chosen"] == "Slowly." && r["rejected"] == "Ask others.")
        << name << r;
    EXPECT_EQ(pairs.notes.size(), name == "thinking.jsonl" ? 1u : 0u) << name;
  }
  const auto decided = read_pairs(f.write("decided.csv", "prompt,a,b,human\nHow?,One.,Two.,0.5\n"));
  EXPECT_EQ(decided.records[0]["human"], 0.5);
}

TEST(Conversations, OnlyAThinkingBlockAtTheBeginningIsTakenOff) {
  EXPECT_EQ(without_thinking("<think>\nHm.\n</think>\n\nYes."), "Yes.");
  EXPECT_EQ(without_thinking("Hm.\n</think>\nYes."), "Yes.");
  EXPECT_EQ(without_thinking("<thinking>Hm.</thinking> Yes."), "Yes.");
  EXPECT_EQ(without_thinking("<think>Hm."), "");
  for (const char* kept : {" Yes. ", "Write <think> and </think> around it.", "I think so."})
    EXPECT_EQ(without_thinking(kept), kept);
}

TEST(PairFiles, WhatHoldsNoPairIsLeftOutAndCountedByItsLine) {
  const Folder f;
  const auto pairs =
      read_pairs(f.write("p.jsonl", R"({"prompt":"Name a river.","chosen":"The Rhine.","rejected":""})"
                                    "\n"
                                    R"({"prompt":"Name a colour.","chosen":"Red.","rejected":null})"
                                    "\n"
                                    R"({"prompt":"Name a bird.","chosen":"A wren.","rejected":"No."})"
                                    "\n"
                                    R"({"prompt":"Name a bird.","chosen":"A wren.","rejected":"No."})"
                                    "\n"
                                    R"({"prompt":"Name a tree.","chosen":"<think>Hm","rejected":"No."})"
                                    "\n"));
  EXPECT_EQ(pairs.records.size(), 1u);
  EXPECT_EQ(pairs.left_out, 4);
  ASSERT_EQ(pairs.notes.size(), 1u);
  for (const char* piece : {"4 records hold no pair", "2: \"rejected\" is empty, first in", "p.jsonl:1",
                            "a repetition, first in", "p.jsonl:4", "nothing behind its thinking block"})
    EXPECT_TRUE(has(pairs.notes[0], piece)) << piece << "\n" << pairs.notes[0];
  EXPECT_TRUE(
      has(problem([&] { read_pairs(f.write("none.jsonl", R"({"prompt":"a","chosen":"b","rejected":""})")); }),
          "none.jsonl:1"));
}

TEST(PairFiles, OtherFormsAreNamedWithTheConversion) {
  const Folder f;
  const std::vector<std::tuple<std::string, std::string, std::string>> wrong = {
      {"pku.jsonl",
       R"({"prompt":"Name a river.","response_0":"The Rhine.","response_1":"No.","better_response_id":0})",
       "jq -c '{prompt, a: .response_0"},
      {"kto.jsonl", R"({"prompt":"Name a river.","completion":"The Rhine.","label":true})",
       "one answer and a verdict"},
      {"shp.jsonl", R"({"history":"x","human_ref_A":"a","human_ref_B":"b"})",
       "found: \"history\", \"human_ref_A\", \"human_ref_B\""},
      {"no-prompt.jsonl", R"({"chosen":"a","rejected":"b"})", "no prompt"},
      {"p.txt", "How do I bake?\n", "no pair"},
  };
  for (const auto& [name, text, piece] : wrong) {
    const std::string told = problem([&, name = name, text = text] { read_pairs(f.write(name, text)); });
    EXPECT_TRUE(has(told, name + ":1: ") && has(told, piece)) << told;
  }
}

TEST(Splits, AreTheSameForTheSameSetAndNeitherIsEmpty) {
  std::vector<Prompt> many;
  for (int i = 0; i < 400; ++i)
    many.push_back({.id = std::to_string(i), .text = "x"});
  std::vector<Prompt> again = many;
  draw_splits(many), draw_splits(again);
  long held_out = 0;
  for (std::size_t i = 0; i < many.size(); ++i) {
    held_out += many[i].split == "held-out";
    EXPECT_EQ(many[i].split, again[i].split);
  }
  EXPECT_GT(held_out, 40);
  EXPECT_LT(held_out, 120);
  for (int first = 0; first < 40; ++first) {
    std::vector<Prompt> two(many.begin() + first, many.begin() + first + 2);
    two[0].split = two[1].split = "";
    draw_splits(two);
    EXPECT_NE(two[0].split, two[1].split);
  }
  std::vector<Prompt> given = {{.id = "1", .text = "x", .split = "train"},
                               {.id = "2", .text = "y", .split = "train"}};
  draw_splits(given);
  EXPECT_EQ(given[1].split, "train") << "what a person says stands";
}

// The inverse: any table written as RFC 4180 says is read back.
RC_GTEST_PROP(Csv, WhatIsWrittenByTheRulesIsReadBack,
              (std::vector<std::pair<std::string, std::string>> table, bool crlf)) {
  const auto quoted = [](const std::string& cell) {
    std::string out = "\"";
    for (const char c : cell)
      out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  std::string text;
  for (const auto& [x, y] : table)
    text += quoted(x) + "," + quoted(y) + (crlf ? "\r\n" : "\n");
  const std::vector<TableRow> rows = read_csv(text, ',');
  RC_ASSERT(rows.size() == table.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RC_ASSERT(rows[i].problem.empty());
    RC_ASSERT(rows[i].cells == (std::vector<std::string>{table[i].first, table[i].second}));
  }
}

RC_GTEST_PROP(PairFiles, AnyBytesEndInPairsOrAnInputError, (std::string bytes)) {
  const Folder f;
  const std::vector<std::string> names = {"any.csv", "any.json", "any.jsonl", "any.tsv"};
  for (const std::string& name : {names[bytes.size() % names.size()]})
    for (const std::string& start :
         {std::string(), std::string("["), std::string("\x1f\x8b\x08"), std::string("prompt,chosen\n\"")})
      try {
        read_pairs(f.write(name, start + bytes));
      } catch (const InputError&) {
      }
}

}  // namespace
}  // namespace cai
