// Commands that use a model outside of a run: export, chat, constitution infer.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/random.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/mixed.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/engine/threads.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/adapters.hpp"
#include "cai/pipeline/fine_tuning.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/explain.hpp"
#include "cai/stages/explain_training.hpp"
#include "cai/stages/infer.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/gguf_vocabulary.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// A manifest beside what was exported: `cai verify` and every later load compare the files with it.
void list_export(const fs::path& out, const fs::path& model, const std::string& format,
                 const std::string& dtype, const Json& mixed) {
  Json ingredients = {{"model", model_fingerprint(model)}, {"format", format}, {"dtype", dtype}};
  ingredients.update(mixed);
  Manifest manifest{"export", key_of(ingredients), {}, mixed, 0};
  for (const auto& entry : fs::directory_iterator(out))
    manifest.files.push_back({entry.path().filename().string(), -1, sha256_file(entry.path())});
  std::sort(manifest.files.begin(), manifest.files.end(),
            [](const auto& a, const auto& b) { return a.file < b.file; });
  write_manifest(out, manifest);
}

/// Replaces `weights` by those on the way to the model that --towards names. Its fingerprint joins what the
/// manifest's key is made of.
Json go_towards(std::shared_ptr<Llama>& weights, const Arguments& a) {
  char* end = nullptr;
  const double share = std::strtod(a.share.c_str(), &end);
  if (a.share.empty() || *end || !(share >= -1 && share <= 1))
    throw UsageError("invalid value " + in_quotes(a.share) + " for --share (expected a number from -1 to 1)");
  const fs::path other = find_model(a.towards);
  weights = between(*weights, *load_llama(other), share);
  return {{"towards", model_fingerprint(other)}, {"share", share}};
}

/// What a GGUF file calls itself: the run's or model's name as the person gave it.
std::string model_name(const std::string& given) {
  const fs::path path = fs::path(given).lexically_normal();
  const fs::path last = path.has_filename() ? path.filename() : path.parent_path().filename();
  const std::string name = last.extension() == ".gguf" ? last.stem().string() : last.string();
  return name.empty() || name == "." ? "model" : to_utf8(name);
}

/// PEFT's folder of the adapter that a checkpoint was trained with.
int run_adapter_export(const Arguments& a, const fs::path& model) {
  const ExportedAdapter adapter = export_adapter(model, a.out);
  load_chat(model, read_model_config(model).vocabulary).save(a.out);
  list_export(a.out, model, a.format, "float32", Json::object());
  print_figures({{"out", a.out}, {"base", adapter.base}, {"sha256", adapter.sha256}}, a.json);
  return kDone;
}

int run_export(const Arguments& a) {
  if (a.format != "hf" && a.format != "gguf" && a.format != "adapter")
    throw UsageError("invalid value " + in_quotes(a.format) + " for --format (expected hf, gguf or adapter)");
  for (const auto& [value, option] :
       {std::pair(a.dtype, "--dtype"), std::pair(a.towards, "--towards"), std::pair(a.share, "--share")})
    if (a.format == "adapter" && !value.empty())
      throw UsageError(std::string(option) + " does not go with --format adapter");
  std::vector<std::string> dtypes = a.format == "hf" ? std::vector<std::string>{"float32", "bfloat16"}
                                                     : std::vector<std::string>{"f16", "f32", "bf16"};
  std::string dtype = a.dtype.empty() ? dtypes.front() : a.dtype;
  if (std::find(dtypes.begin(), dtypes.end(), dtype) == dtypes.end()) {
    throw UsageError("invalid value " + in_quotes(dtype) + " for --dtype with --format " + a.format +
                     " (expected " + dtypes[0] + ", " + dtypes[1] +
                     (dtypes.size() > 2 ? ", " + dtypes[2] : "") + ")");
  }
  fs::path out = a.out, model = find_model(a.model());
  if (fs::exists(out) && (!fs::is_directory(out) || !fs::is_empty(out)))
    throw UsageError("--out " + out.string() + ": exists and is not empty; give a new name");
  if (a.format == "adapter") return run_adapter_export(a, model);
  if (a.towards.empty() != a.share.empty()) throw UsageError("--towards and --share: give both or neither");
  std::shared_ptr<Llama> weights = load_llama(model);
  const Json mixed = a.towards.empty() ? Json::object() : go_towards(weights, a);
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  create_folders(out);
  if (a.format == "hf") {
    std::string hash = save_llama(*weights, out, dtype);
    chat.save(out);
    list_export(out, model, a.format, dtype, mixed);
    print_figures({{"out", out.string()}, {"sha256", hash}}, a.json);
    return kDone;
  }
  fs::path file = out / "model.gguf", files = out / "tokenizer";
  create_folders(files);
  chat.save(files);
  export_gguf(*weights, gguf_vocabulary(files), model_name(a.model()), file, dtype);
  remove_path(files);
  list_export(out, model, a.format, dtype, mixed);
  print_figures({{"out", file.string()}, {"sha256", sha256_file(file)}}, a.json);
  return kDone;
}

/// As find_model; a checkpoint that takes long to read is not compared with its checksums before the first
/// word.
fs::path model_to_talk_to(const std::string& name) {
  constexpr std::uintmax_t kQuick = std::uintmax_t{4} << 30;  // bytes: some seconds
  const fs::path model = find_model(name, false);
  std::uintmax_t bytes = 0;
  if (fs::is_directory(model))
    for (const auto& entry : fs::directory_iterator(model))
      bytes += entry.is_regular_file() ? entry.file_size() : 0;
  if (bytes <= kQuick) return find_model(name);
  log_info(model.string() + ": checksums not compared; cai verify does that");
  return model;
}

int run_chat(const Arguments& a) {
  Config config = config_of(a);
  set_threads(config.engine.threads);
  if (!a.prompt.empty() && !is_utf8(a.prompt)) throw UsageError("--prompt: is not valid UTF-8");
  for (const std::string& line : mixed_stages(config.model))
    log_warning(line);
  const fs::path model = model_to_talk_to(config.model);
  std::unique_ptr<Speaker> speaker = local_speaker(model, config.engine);
  if (isatty(STDIN_FILENO) && a.prompt.empty())
    std::fprintf(stderr, "%s\nType a message; Ctrl-D ends.\n", printable(model.string()).c_str());
  std::vector<Message> messages;
  if (!a.system.empty()) messages.push_back({"system", to_utf8(a.system)});
  Random random = Random(static_cast<std::uint64_t>(config.seed)).derive("chat");
  bool is_terminal = isatty(STDIN_FILENO);
  for (std::uint64_t turn = 0;; ++turn) {
    std::string said = a.prompt;
    if (a.prompt.empty()) {
      if (is_terminal) std::fputs("> ", stderr);
      if (!std::getline(std::cin, said)) return kDone;
      if (trim(said).empty()) continue;
    }
    messages.push_back({"user", to_utf8(said)});
    Ask ask{
        .messages = messages,
        .max_new_tokens = static_cast<int>(a.max_new_tokens.empty() ? 256 : config.generate.max_new_tokens),
        .temperature = config.generate.temperature,
        .top_p = config.generate.top_p,
        .random = random.derive(turn)};
    Reply reply;
    speaker->say({&ask, 1}, [&](std::size_t, Reply given) { reply = std::move(given); });
    if (a.json)
      std::cout << to_line({{"response", reply.text}, {"finish", reply.finish}, {"tokens", reply.tokens}})
                << std::endl;
    else
      std::cout << printable(reply.text) << std::endl;  // --json gives it as it is
    if (!a.prompt.empty()) return kDone;
    if (reply.finish == "context") {
      log_warning("the conversation no longer fits the model's context; dropping this message");
      messages.pop_back();
      continue;
    }
    messages.push_back({"assistant", reply.text});
  }
}

/// The first iteration's fine-tuning: the answers before and after, and whose revisions moved them.
int run_explain_training(const Arguments& a) {
  if (!a.other.empty()) throw UsageError("cai explain: either RUN and ID, or RUN and --prompt");
  const fs::path run = a.run;
  const FineTuning tuned = fine_tuning_of(run);
  set_threads(tuned.engine.threads);
  const auto answer_of = [&](const fs::path& model) {
    const Ask ask{.messages = {{"user", a.prompt}},
                  .max_new_tokens = a.max_new_tokens.empty() ? 48
                                                             : static_cast<int>(positive_integer(
                                                                   a.max_new_tokens, "--max-new-tokens")),
                  .temperature = 0,
                  .random = Random()};
    std::string text;
    local_speaker(model, tuned.engine)->say({&ask, 1}, [&](std::size_t, Reply reply) {
      text = trim(reply.text);
    });
    return text;
  };
  const std::string before = a.against.empty() ? answer_of(tuned.before) : a.against,
                    after = answer_of(tuned.after);
  if (before == after) {
    std::cout << (a.json ? to_line({{"prompt", a.prompt}, {"before", before}, {"after", after}})
                         : "fine-tuning did not change this answer: " + printable(after))
              << std::endl;
    return kDone;
  }
  const Json e =
      explain_training(tuned, read_constitution(run / "constitution.yaml"), a.prompt, before, after);
  if (a.json) {
    std::cout << to_lines(e);
    return kDone;
  }
  const auto text = [&](const Json& j, const char* field) {
    return printable(j.at(field).get<std::string>());
  };
  std::printf(
      "prompt  %s\nbefore  %s\nafter   %s\n\nlog p(after) - log p(before): %+.1f nats before fine-tuning, "
      "%+.1f after\n\n  share  influence [95 %%]            examples\n",
      text(e, "prompt").c_str(), text(e, "before").c_str(), text(e, "after").c_str(),
      e["f_before"].get<double>(), e["f_after"].get<double>());
  const auto row = [](const Json& p, const std::string& name) {
    char interval[64] = "not known";
    if (p["low"].is_number())
      std::snprintf(interval, sizeof interval, "[%+.2f, %+.2f]", p["low"].get<double>(),
                    p["high"].get<double>());
    std::printf("%5.0f %%  %+8.2f %s  %6ld  %s\n", 100 * p["share"].get<double>(), p["sum"].get<double>(),
                interval, p["examples"].get<long>(), name.c_str());
  };
  for (const Json& p : e["principles"])
    row(p, text(p, "principle"));
  if (!e["people"].empty()) row(e["people"], "answers that people wrote");
  if (!e["harmless"].empty()) row(e["harmless"], "answers to harmless requests");
  std::printf("\nthe five examples of largest influence\n");
  for (const Json& x : e["examples"])
    std::printf("%+7.3f  %s %s: %s\n", x["influence"].get<double>(), text(x, "id").c_str(),
                text(x, "principle").c_str(), text(x, "prompt").c_str());
  std::printf("\n%s\n", kTrainingLimits);
  std::fflush(stdout);
  return kDone;
}

int run_explain(const Arguments& a) {
  if (!is_utf8(a.prompt) || !is_utf8(a.against)) throw UsageError("--prompt: is not valid UTF-8");
  if (!a.run.empty()) return run_explain_training(a);
  Config config = config_of(a);
  set_threads(config.engine.threads);
  const Constitution constitution = read_constitution(find_shipped(config.constitution));
  std::unique_ptr<Speaker> speaker = local_speaker(find_model(config.model), config.engine);
  const long most = a.max_new_tokens.empty() ? 128 : config.generate.max_new_tokens;
  const Json e = explain_answer(config.label, constitution, a.prompt, a.against, most, *speaker,
                                Random(static_cast<std::uint64_t>(config.seed)).derive("explain"));
  if (a.json) {
    std::cout << to_lines(e);
    return kDone;
  }
  const auto text = [&](const Json& j, const char* field) {
    return printable(j.at(field).get<std::string>());
  };
  std::printf("prompt       %s\nanswer       %s\nalternative  %s\n\n", text(e, "prompt").c_str(),
              text(e, "answer").c_str(), text(e, "alternative").c_str());
  for (const Json& p : e["principles"])
    std::printf("%+6.2f  %-7s  %s%s\n", p["log_odds"].get<double>(), p["log_odds"] > 0 ? "for" : "against",
                text(p, "principle").c_str(),
                p["orders_agree"].get<bool>() ? "" : "  (changes with the order)");
  std::printf(
      "\ntotal %+.2f towards the answer%s, decided by %s\nboth orders agree on %.0f %% of the principles; "
      "the first answer was chosen in %.0f %% of the questions\n\n%s\n",
      e["preference"].get<double>(), e["by_rank"].get<bool>() ? " (a higher rank overruled the mean)" : "",
      text(e, "decisive").c_str(), 100 * e["orders_agree"].get<double>(), 100 * e["first_slot"].get<double>(),
      kAnswerLimits);
  std::fflush(stdout);
  return kDone;
}

/// The inferred constitution goes to --out (a file) or stdout; what was measured stands in its comments, and
/// with --json instead of it.
int run_infer(const Arguments& a) {
  Config config = config_of(a);
  set_threads(config.engine.threads);
  InferSettings settings;
  if (!a.most_pairs.empty()) settings.most_pairs = positive_integer(a.most_pairs, "--most-pairs");
  if (!a.principles.empty()) settings.principles = positive_integer(a.principles, "--principles");
  if (!a.out.empty() && fs::exists(a.out)) throw UsageError("--out " + a.out + ": exists; give a new name");
  ImportedPairs imported = read_pairs(a.run);
  for (const std::string& note : imported.notes)
    log_warning(note);
  const std::vector<Json> pairs = std::move(imported.records);
  ProgressStyle style = progress_style(a.json, a.quiet);
  std::unique_ptr<Speaker> speaker;
  if (is_endpoint(config.model))
    config.endpoint.url = config.model, look_at_endpoint(config.endpoint),
    speaker = endpoint_speaker(config.endpoint, (a.out.empty() ? "inferred" : a.out) + ".answers");
  else
    speaker = local_speaker(find_model(config.model), config.engine);
  const Inferred inferred =
      infer(settings, config.label, pairs, *speaker,
            Random(static_cast<std::uint64_t>(config.seed)).derive("infer"), progress_line(style));
  end_progress_line(style);
  const long kept = std::count_if(inferred.principles.begin(), inferred.principles.end(),
                                  [](const InferredPrinciple& p) { return p.is_kept; });
  const std::string yaml = to_yaml(inferred, "inferred");
  if (kept > 0 && !a.out.empty()) write_file(a.out, yaml);
  if (a.json) {
    std::cout << to_lines(to_json(inferred));
    return kDone;
  }
  for (const InferredPrinciple& p : inferred.principles)
    std::fprintf(stderr,
                 "%s %s: %.0f %% of %ld (95 %% interval %.0f to %.0f %%), both orders agree on %.0f %%; "
                 "proposed %ld times\n",
                 p.is_kept ? "kept" : "left out", printable(p.text).c_str(), 100 * p.reconstruction.value,
                 p.reconstruction.n, 100 * p.reconstruction.low, 100 * p.reconstruction.high,
                 100 * p.orders_agree, p.proposals);
  if (kept == 0)
    std::fprintf(stderr,
                 "no rule of %ld reconstructs more than half of the preferences beyond chance: nothing is "
                 "written. A larger model or more pairs (--most-pairs) may find some.\n",
                 static_cast<long>(inferred.principles.size()));
  else if (a.out.empty())
    std::cout << yaml;
  else
    std::cout << a.out << "\n";
  return kDone;
}

}  // namespace

int run_model_command(const Arguments& a) {
  if (a.command == "export") return run_export(a);
  if (a.command == "chat") return run_chat(a);
  if (a.command == "explain") return run_explain(a);
  if (a.command == "constitution infer") return run_infer(a);
  throw Bug("not a command of a model: " + a.command);
}

}  // namespace cai
