#include "cai/cli/arguments.hpp"

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <span>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/version.hpp"

namespace cai {
namespace {

constexpr const char* kModel =
    "smollm2, an HF folder, a .gguf file, a LoRA adapter's folder, a run or a stage's folder";

/// The parser with every command, bound to `a`.
std::unique_ptr<CLI::App> build_app(Arguments& a) {
  auto app = std::make_unique<CLI::App>(
      "cai takes a language model and a written constitution and returns a model that follows it better, "
      "with the evidence.",
      "cai");
  app->require_subcommand(1);
  app->fallthrough();
  app->option_defaults()->take_last();
  app->add_flag_function(
      "--version", [](std::int64_t) { throw CLI::CallForVersion(); }, "Print version and exit");
  app->add_flag("--json", a.json,
                "Results as JSON on stdout; progress, log and errors as JSON lines on stderr");
  app->add_flag("-q,--quiet", a.quiet, "Print only warnings and errors");
  app->add_flag("-v,--verbose", a.verbose, "Also print debug lines");

  CLI::App* parent = app.get();
  auto command = [&](const std::string& name, const std::string& help, const std::string& examples) {
    CLI::App* sub = parent->add_subcommand(name, help);
    sub->fallthrough();
    sub->option_defaults()->take_last();
    sub->footer("Examples:\n" + examples + "\nEverywhere: --json, -q/--quiet, -v/--verbose");
    std::string full = parent == app.get() ? name : parent->get_name() + " " + name;
    sub->callback([&a, full, sub] {
      if (sub->get_subcommands().empty()) a.command = full;
    });
    return sub;
  };
  auto settings = [&](CLI::App* sub) {
    sub->add_option("--config", a.config, "Config file (default: configs/default.yaml)")->type_name("FILE");
    sub->add_option("--set", a.sets,
                    "Set one config field, overriding the file (repeatable); cai config explain lists them")
        ->type_name("KEY=VALUE")
        ->take_all()
        ->allow_extra_args(false);
    sub->add_option("--seed", a.seed, "Seed of all random streams")->type_name("N");
  };
  auto model = [&](CLI::App* sub, bool required = false) {
    auto* option = sub->add_option("--model", a.models, std::string("Model: ") + kModel)
                       ->type_name("MODEL")
                       ->allow_extra_args(false);
    option->take_all()->required(required);
  };
  auto out = [&](CLI::App* sub, bool required = true) {
    sub->add_option("--out", a.out, "Output folder")->type_name("DIR")->required(required);
  };
  auto constitution = [&](CLI::App* sub) {
    sub->add_option("--constitution", a.constitution, "Constitution (YAML)")->type_name("FILE");
  };
  auto prompts = [&](CLI::App* sub, const std::string& help) {
    sub->add_option("--prompts", a.prompts,
                    help + ": JSON, JSONL, CSV, TSV, text, Parquet, or a folder of records (repeatable)")
        ->type_name("FILE")
        ->take_all()
        ->allow_extra_args(false);
  };
  auto input = [&](CLI::App* sub, const std::string& flag, const std::string& help) {
    sub->add_option(flag, a.input, help)->type_name("DIR|FILE")->required();
  };
  auto sampling = [&](CLI::App* sub) {
    sub->add_option("--temperature", a.temperature, "Sampling temperature; 0 is greedy")->type_name("T");
    sub->add_option("--max-new-tokens", a.max_new_tokens, "Longest answer, in tokens")->type_name("N");
  };

  for (const char* name : {"train", "plan"}) {
    bool is_train = std::string(name) == "train";
    CLI::App* sub = command(
        name,
        is_train ? "Run all stages, or resume an interrupted run"
                 : "Show what train would run and why, with estimated tokens and time; create nothing",
        is_train ? "  cai train --constitution constitutions/harmless.yaml\n"
                   "  cai train --config configs/quick.yaml --out runs/first --set ppo.updates=4\n"
                   "  cai train --out runs/first        # resume"
                 : "  cai plan --constitution constitutions/harmless.yaml\n  cai plan --out "
                   "runs/first --set critique.temperature=0.5");
    constitution(sub);
    settings(sub);
    out(sub, false);
    sub->add_option("--iterations", a.iterations,
                    "Rounds of the whole loop; each starts from the last round's policy")
        ->type_name("N");
    prompts(sub, "Prompts instead of the shipped sets");
    model(sub);
    sub->add_option("--feedback", a.feedback,
                    "Who criticises, revises and labels: self, a model, or an endpoint's URL")
        ->type_name("MODEL");
    if (is_train)
      sub->add_flag("--force", a.force,
                    "Run changed stages of a finished run again; the earlier ones are kept beside them");
    if (is_train)
      sub->add_option("--reuse", a.reuse,
                      "Reuse this run's finished stages where inputs and settings are the same (repeatable)")
          ->type_name("RUN")
          ->allow_extra_args(false);
  }

  CLI::App* sub = command("prompts", "Choose training prompts, and write more by few-shot generation",
                          "  cai prompts --prompts mine.jsonl --out chosen --set prompts.expand=100");
  prompts(sub, "Prompts"), model(sub), out(sub), settings(sub);
  sub = command("generate", "Answer prompts",
                "  cai generate --model smollm2 --prompts questions.txt --out answers --temperature 0");
  model(sub), prompts(sub, "Prompts"), out(sub), sampling(sub), settings(sub);
  sub = command(
      "critique", "Criticise answers under principles of the constitution",
      "  cai critique --responses answers --constitution constitutions/harmless.yaml --out critiques");
  model(sub), constitution(sub), input(sub, "--responses", "Records of generate or revise"), out(sub),
      sampling(sub), settings(sub);
  sub->add_option("--round", a.round, "Round number, from 1; it decides which principles are drawn")
      ->type_name("N");
  sub = command("revise", "Rewrite answers following their critiques",
                "  cai revise --critiques critiques --out revisions");
  model(sub), constitution(sub), input(sub, "--critiques", "Records of critique"), out(sub), sampling(sub),
      settings(sub);
  sub = command("sft", "Fine-tune on revisions (SL-CAI)",
                "  cai sft --revisions revisions --out sft --set sft.epochs=2");
  model(sub), constitution(sub), input(sub, "--revisions", "Records of revise or generate"), out(sub),
      settings(sub);
  sub = command("exam", "Test judges on answer pairs with known labels; the last judge's result counts",
                "  cai exam --model before=smollm2 --model after=sft --constitution "
                "constitutions/harmless.yaml --out exam");
  model(sub), constitution(sub), out(sub), settings(sub);
  sub =
      command("candidates", "Sample answers to compare",
              "  cai candidates --model sft --initial smollm2 --prompts chosen --out candidates --contrast");
  model(sub), constitution(sub), prompts(sub, "Prompts"), out(sub), sampling(sub), settings(sub);
  sub->add_flag("--contrast", a.contrast, "Sample one answer under a principle and one under its opposite");
  sub->add_option("--initial", a.initial,
                  "With --contrast: the model that gives the harmful answers, usually the one that the "
                  "policy started from (default: --model)")
      ->type_name("MODEL");
  sub = command("label", "Judge which of two answers follows the constitution better",
                "  cai label --model smollm2 --constitution constitutions/harmless.yaml --pairs pairs.jsonl "
                "--out labels");
  model(sub), constitution(sub),
      input(sub, "--pairs", "Pairs: id, prompt, and candidates or chosen and rejected"), out(sub),
      settings(sub);
  sub = command("reward", "Train a preference model on labels",
                "  cai reward --model sft --labels labels --out reward");
  model(sub), input(sub, "--labels", "Records of label"), out(sub), settings(sub);
  sub = command("dpo", "Direct preference optimisation on labels, without a reward model",
                "  cai dpo --model sft --labels labels --out dpo");
  model(sub), input(sub, "--labels", "Records of label"), out(sub), settings(sub);
  sub = command("ppo", "Reinforcement learning against a reward model",
                "  cai ppo --model sft --reward reward --prompts chosen --out ppo");
  model(sub), prompts(sub, "Prompts"), out(sub), settings(sub);
  sub->add_option("--reward", a.reward, "Reward model: its folder")->type_name("DIR")->required();
  sub =
      command("eval", "Compare models on prompts; the first one is the base",
              "  cai eval --model base=smollm2 --model mine=runs/first --prompts held-out.jsonl --out eval");
  model(sub, true), constitution(sub),
      prompts(sub,
              "Prompts instead of the shipped held-out ones; all held-out ones are asked unless --set "
              "eval.red_team=N and the like limit them"),
      out(sub), sampling(sub), settings(sub);
  sub->add_option("--add-failures", a.failures,
                  "Append the prompts on which the last model failed to this JSONL file; give it to "
                  "--prompts of later evals")
      ->type_name("FILE");
  sub->add_flag("--include-train", a.include_train,
                "Also ask prompts of the split \"train\" and prompts that a model's run trained on "
                "(default: left out)");
  sub->add_option("--best-of", a.best_of, "Add a model: the best of N samples of the last one, by --reward")
      ->type_name("N");
  sub->add_option("--reward", a.reward, "Reward model for --best-of: its folder")->type_name("DIR");
  sub->get_option("--model")->description(std::string("NAME=MODEL (repeatable). A model is ") + kModel);
  sub =
      command("report", "Write a run's report.html anew, or a page that compares two runs",
              "  cai report runs/first\n  cai report runs/first runs/second --out compare.html\n  cai report "
              "runs/first --also constitutions/house-style.yaml --also shuffled\n  cai report runs/first "
              "--tensorboard events/first");
  sub->add_option("run", a.run, "Run folder")->type_name("RUN")->required();
  sub->add_option("other", a.other, "Compare with this run: differences are from RUN to OTHER")
      ->type_name("OTHER");
  sub->add_option("--out", a.out, "Write the page here; without it RUN/report.html")->type_name("FILE");
  sub->add_option("--tensorboard", a.tensorboard,
                  "Also write the training metrics as event files for TensorBoard into this folder")
      ->type_name("DIR");
  sub->add_option(
         "--also", a.constitution,
         "Also score the held-out answers by the checks of this constitution (YAML), or of the run's "
         "own with its principles applied to each other's prompts: shuffled (repeatable)")
      ->type_name("FILE|shuffled")
      ->multi_option_policy(CLI::MultiOptionPolicy::Join);  // one a line
  settings(sub);

  sub = command("score", "Score pairs with a reward model",
                "  cai score --model runs/first/iter-01/reward --pairs pairs.jsonl --out scores");
  sub->add_option("--model", a.models, "Reward model: its folder")
      ->type_name("REWARD")
      ->required()
      ->allow_extra_args(false);
  input(sub, "--pairs", "Pairs: id, prompt, and candidates or chosen and rejected"), out(sub), settings(sub);
  sub =
      command("check", "Judge exchanges of any model under a constitution, principle by principle",
              "  cai check --constitution desk/constitution.yaml --prompt 'Is it open?' --answer 'Yes, until "
              "six.'\n  cai check --constitution desk/constitution.yaml --exchanges log.jsonl --out checked "
              "--gate 'violates <= 2%'\n  zcat day.jsonl.gz | cai check --constitution "
              "desk/constitution.yaml --judge http://127.0.0.1:8000/v1 --exchanges - --json");
  constitution(sub), settings(sub), out(sub, false);
  sub->add_option("--prompt", a.prompt, "One exchange: what was asked")->type_name("TEXT");
  sub->add_option("--answer", a.answer, "One exchange: what was answered")->type_name("TEXT");
  sub->add_option("--exchanges", a.exchanges,
                  "A log: JSON, JSONL, CSV, Parquet, also .gz or .zst, a folder of records, or - for JSON "
                  "lines on stdin")
      ->type_name("FILE");
  sub->add_option("--judge", a.judge,
                  "Judge of the principles that have no check: a model or an endpoint's URL")
      ->type_name("MODEL");
  sub->add_option("--guard", a.guard,
                  "Guard of cai guard train: it judges the principles that it has a head for; its "
                  "constitution is the default")
      ->type_name("DIR");
  sub->add_option("--trunk", a.trunk, "The model that the guard was trained on, where it is elsewhere now")
      ->type_name("MODEL");
  sub->add_flag("--reasons", a.reasons, "Ask the judge for a reason in words where it finds a violation");
  sub->add_option("--map", a.maps,
                  "In a log of another form, the record's name for prompt, answer, id or tags; a.b for a "
                  "field of a field (repeatable)")
      ->type_name("FIELD=NAME")
      ->take_all()
      ->allow_extra_args(false);
  sub->add_option("--gate", a.gates,
                  "Exit with 100 unless this holds, e.g. \"violates <= 2% with 95%\", \"violates.PRINCIPLE "
                  "<= 1%\", \"unjudged <= 10%\" (repeatable)")
      ->type_name("GATE")
      ->take_all()
      ->allow_extra_args(false);
  sub = command(
      "export",
      "Write a model as an HF folder, a GGUF file or a LoRA adapter, or interpolate between two models",
      "  cai export --model runs/first --format gguf --out exported\n  cai export --model "
      "runs/first --towards smollm2 --share 0.3 --out softer");
  model(sub, true), out(sub);
  sub->add_option("--format", a.format,
                  "hf, gguf, or adapter: the LoRA adapter that the model was trained with, as PEFT has it")
      ->type_name("hf|gguf|adapter");
  sub->add_option("--dtype", a.dtype,
                  "hf: float32 or bfloat16; gguf: f32, f16 or bf16 (default: float32, f16)")
      ->type_name("DTYPE");
  sub->add_option("--towards", a.towards, "Interpolate the weights towards this model; --share is its weight")
      ->type_name("MODEL");
  sub->add_option("--share", a.share,
                  "Weight of --towards, from -1 (extrapolate away from it) to 1 (all of it)")
      ->type_name("S");
  sub = command(
      "chat", "Talk to a model",
      "  cai chat --model runs/first\n  cai chat --prompt 'What is the capital of France?' --temperature 0");
  model(sub), sampling(sub), settings(sub);
  sub->add_option("--prompt", a.prompt, "Answer this message and exit")->type_name("TEXT");
  sub->add_option("--system", a.system, "System message")->type_name("TEXT");
  sub = command("explain",
                "Explain an answer: from a run's records, from its training data, or by asking the model",
                "  cai explain runs/first rt-001\n  cai explain runs/first --prompt 'How do I pick a "
                "lock?'\n  cai explain --model runs/first --prompt 'How do I bake bread?'");
  sub->add_option("run", a.run, "Run folder")->type_name("RUN");
  sub->add_option("id", a.other, "Id of a label or a prompt")->type_name("ID");
  model(sub), constitution(sub), settings(sub);
  sub->add_option("--prompt", a.prompt,
                  "Ask this of --model, or of the models before and after a run's fine-tuning")
      ->type_name("TEXT");
  sub->add_option("--against", a.against,
                  "Compare the answer with this one (default: a second answer of the model, or the answer "
                  "before fine-tuning)")
      ->type_name("TEXT");
  sub->add_option("--max-new-tokens", a.max_new_tokens, "Longest answer, in tokens")->type_name("N");
  sub = command("review", "Review doubtful labels in the terminal or on a local page",
                "  cai review runs/first\n  cai review runs/first --web\n  cai train --set "
                "hybrid.decisions=runs/first");
  sub->add_option("run", a.run, "Run folder")->type_name("RUN")->required();
  sub->add_flag("--web", a.web, "Use a web page that only this machine can open");
  sub->add_option("--port", a.port, "Port of the page (default: any free one)")->type_name("N");
  sub->add_flag("--all", a.all, "Show every label, doubtful ones first");
  sub->add_option("--scores", a.scores,
                  "Output of cai score --pairs RUN/iter-01/label: also show labels on which the reward model "
                  "disagrees")
      ->type_name("DIR");
  sub = command("verify",
                "Check a run's files against their checksums; with a second run, find the first difference",
                "  cai verify runs/first\n  cai verify runs/first runs/second");
  sub->add_option("run", a.run, "Run or stage folder")->type_name("RUN")->required();
  sub->add_option("other", a.other, "Run to compare with")->type_name("OTHER");

  CLI::App* config = command("config", "Show and explain the settings",
                             "  cai config show --config configs/quick.yaml\n  cai config explain ppo");
  config->require_subcommand(1);
  parent = config;
  sub = command("show", "Show the whole config and where each value comes from",
                "  cai config show --set sft.epochs=2");
  settings(sub);
  sub = command("explain", "Show type, default, range and help of fields",
                "  cai config explain\n  cai config explain ppo\n  cai config explain ppo.kl_coefficient");
  sub->add_option("topic", a.topic, "Section or field (default: all)")->type_name("NAME");
  parent = app.get();
  CLI::App* rules = command("constitution", "Inspect and compare constitutions",
                            "  cai constitution lint constitutions/harmless.yaml");
  rules->require_subcommand(1);
  parent = rules;
  for (const char* name : {"show", "lint"}) {
    sub =
        command(name,
                name == std::string("show") ? "Show principles as they will be used, with derived wordings"
                                            : "Find duplicates, vague wording, missing tests, texts too long",
                std::string("  cai constitution ") + name + " constitutions/medical.yaml" +
                    (name == std::string("lint") ? " --prompts prompts/domains/medical.jsonl" : ""));
    sub->add_option("file", a.run, "Constitution (YAML)")->type_name("FILE")->required();
    if (name == std::string("lint")) prompts(sub, "Also count the prompts that meet each principle");
  }
  sub = command("diff", "Show what changed between two versions, and suggest a version number",
                "  cai constitution diff runs/first/constitution.yaml constitutions/harmless.yaml");
  sub->add_option("before", a.run, "Earlier version")->type_name("BEFORE")->required();
  sub->add_option("after", a.other, "Later version")->type_name("AFTER")->required();
  sub = command("conflicts",
                "Show which principles contradict each other on a run's labels, how often, and which one won",
                "  cai constitution conflicts runs/first\n"
                "  cai label --pairs runs/first/iter-01/candidates --set label.method=choice --set "
                "label.principles=4 --out labels\n"
                "  cai constitution conflicts labels --constitution constitutions/harmless.yaml");
  sub->add_option("run", a.run, "Run, folder of labels or file of labels")->type_name("RUN")->required();
  sub->add_option("--constitution", a.constitution, "Constitution (YAML; default: the run's own)")
      ->type_name("FILE");
  sub = command("infer", "Propose principles that explain given preferences, each tested on other pairs",
                "  cai constitution infer pairs.jsonl --model runs/first --out inferred.yaml");
  sub->add_option("pairs", a.run, "Pairs: prompt, and chosen and rejected or a, b and human")
      ->type_name("PAIRS")
      ->required();
  model(sub), settings(sub);
  sub->add_option("--out", a.out, "File to write (default: stdout)")->type_name("FILE");
  sub->add_option("--most-pairs", a.most_pairs, "Most pairs to use (default: 120)")->type_name("N");
  sub->add_option("--principles", a.principles, "Most principles to test (default: 6)")->type_name("N");
  parent = app.get();
  CLI::App* guard = command("guard", "Train a guard from a run's records, and measure it",
                            "  cai guard train runs/first --out guards/first");
  guard->require_subcommand(1);
  parent = guard;
  sub = command("train", "Train heads on a model's states from a finished run's records",
                "  cai guard train runs/first --out guards/first\n  cai guard train runs/first --trunk "
                "models/qwen3-0.6b --out guards/larger");
  sub->add_option("run", a.run, "Run folder")->type_name("RUN")->required();
  out(sub), settings(sub);
  sub->add_option("--trunk", a.trunk, std::string("Model that reads (default: the run's last): ") + kModel)
      ->type_name("MODEL");
  sub->add_option("--false-positives", a.false_positives,
                  "Harmless prompts that may be flagged, at most, with 95 % confidence (default: 0.02)")
      ->type_name("SHARE");
  sub = command("show", "Show what a guard judges, how well, and what it cannot see",
                "  cai guard show guards/first");
  sub->add_option("guard", a.guard, "Guard folder")->type_name("DIR")->required();
  sub = command("exam", "Measure a guard on exchanges whose right verdict is known",
                "  cai guard exam guards/first --exchanges labelled.jsonl");
  sub->add_option("guard", a.guard, "Guard folder")->type_name("DIR")->required();
  sub->add_option("--exchanges", a.exchanges,
                  "Labelled requests and exchanges: a kind among the tags, and \"violates\" beside an answer")
      ->type_name("FILE")
      ->required();
  sub->add_option("--trunk", a.trunk, "The model that the guard was trained on, where it is elsewhere now")
      ->type_name("MODEL");
  settings(sub);
  parent = app.get();
  add_release_commands(
      *app, a.release,
      [&](CLI::App& under, const std::string& name, const std::string& help, const std::string& examples) {
        parent = &under;
        CLI::App* made = command(name, help, examples);
        parent = app.get();
        return made;
      });
  sub = command("init", "Write a constitution and prompts to begin with", "  cai init desk");
  sub->add_option("folder", a.run, "Folder to write them to")->type_name("DIR")->required();
  sub = command("completion", "Print a completion script for a shell",
                "  cai completion bash > /etc/bash_completion.d/cai\n  source <(cai completion zsh)");
  sub->add_option("shell", a.shell, "bash, zsh or fish")->type_name("SHELL")->required();
  app->footer(
      "Examples:\n  cai train --constitution constitutions/harmless.yaml\n  cai plan\n  cai chat --model "
      "runs/harmless-01\nEach command "
      "has its own: cai COMMAND --help");
  return app;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

/// Flags of this command and of those above it.
std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* level = &app; level; level = level->get_parent()) {
    for (const CLI::Option* option : level->get_options()) {
      for (const std::string& name : option->get_lnames())
        names.push_back("--" + name);
    }
  }
  return names;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& names) {
  std::string near = nearest(word, names);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

std::string full_name(const CLI::App* command) {
  return command->get_parent() ? full_name(command->get_parent()) + " " + command->get_name()
                               : command->get_name();
}

/// Walks the words up to the first that is no command: where the words lead, or a UsageError for a wrong
/// command name.
const CLI::App* find_command(const CLI::App& app, std::span<const char* const> words) {
  const CLI::App* at = &app;
  for (const char* word : words) {
    std::string text = word;
    if (text.starts_with("-")) continue;
    std::vector<std::string> names = command_names(*at);
    if (names.empty()) return at;
    if (std::find(names.begin(), names.end(), text) == names.end()) {
      throw UsageError(full_name(at) + ": unknown command " + in_quotes(text) + suggestion(text, names) +
                       " (" + full_name(at) + " --help lists them)");
    }
    at = at->get_subcommand(text);
  }
  return at;
}

std::string version_line() {
  Json facts = build_facts();
  std::string from = origin();
  if (std::string git = facts["git"].get<std::string>(); !git.empty())
    from += (from.empty() ? "commit " : ", commit ") + git;
  return "cai " + version() + (from.empty() ? "" : " (" + from + ")") + ", torch " +
         facts["torch"].get<std::string>() + ", " + facts["compiler"].get<std::string>() + "\n";
}

}  // namespace

namespace {

/// "help", "help train" and "version" as the flags that they stand for.
std::vector<const char*> with_flags_for_words(int argc, const char* const* argv) {
  std::vector<const char*> words(argv, argv + std::max(argc, 0));
  if (words.size() < 2) return words;
  const std::string first = words[1];
  if (first == "version" && words.size() == 2) words[1] = "--version";
  if (first != "help") return words;
  words.erase(words.begin() + 1);
  words.push_back("--help");
  return words;
}

}  // namespace

Arguments parse_arguments(int typed, const char* const* typed_words) {
  const std::vector<const char*> all = with_flags_for_words(typed, typed_words);
  const int argc = static_cast<int>(all.size());
  const char* const* argv = all.data();
  Arguments a;
  std::unique_ptr<CLI::App> app = build_app(a);
  std::span<const char* const> words(argv + 1, static_cast<std::size_t>(std::max(argc, 1)) - 1);
  const CLI::App* command = find_command(*app, words);
  auto printed = [&](const std::string& text) {
    Arguments print;
    print.command = "print", print.text = text;
    return print;
  };
  try {
    app->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return printed(command->help(command->get_parent() ? full_name(command->get_parent()) : ""));
  } catch (const CLI::CallForAllHelp&) {
    return printed(app->help("", CLI::AppFormatMode::All));
  } catch (const CLI::CallForVersion&) {
    return printed(version_line());
  } catch (const CLI::ParseError& error) {
    std::vector<std::string> flags = flag_names(*command);
    for (const char* word : words) {
      std::string flag = word;
      if (!flag.starts_with("--") || flag == "--") continue;
      flag = flag.substr(0, flag.find('='));
      if (std::find(flags.begin(), flags.end(), flag) == flags.end()) {
        throw UsageError(full_name(command) + ": unknown flag " + printable(flag) + suggestion(flag, flags) +
                         " (" + full_name(command) + " --help lists them)");
      }
    }
    std::string message = error.what();
    if (std::vector<std::string> names = command_names(*command); !names.empty()) {
      message = "a command is needed:";
      for (const std::string& name : names)
        message += " " + name;
    }
    for (char& letter : message) {
      if (letter == '\n') letter = ' ';
    }
    throw UsageError(full_name(command) + ": " + printable(message) + " (" + full_name(command) + " --help)");
  }
  return a;
}

bool is_light(const Arguments& a) {
  return a.command == "print" || a.command == "completion" || a.command == "review" || a.command == "init" ||
         (a.command == "explain" && a.prompt.empty()) || a.command.starts_with("config ") ||
         (a.command.starts_with("constitution ") && a.command != "constitution infer") ||
         is_release_command(a.command);
}

std::string completion(const std::string& shell) {
  Arguments unused;
  std::unique_ptr<CLI::App> app = build_app(unused);
  auto joined = [](const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words)
      line += (line.empty() ? "" : " ") + word;
    return line;
  };
  auto commands = app->get_subcommands([](const CLI::App*) { return true; });
  if (shell == "bash" || shell == "zsh") {
    std::string text = shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit\n" : "";
    text +=
        "_cai() {\n  local current=${COMP_WORDS[COMP_CWORD]} words\n  if [ \"$COMP_CWORD\" -eq 1 ]; then\n   "
        " words=\"" +
        joined(command_names(*app)) + " --help --version\"\n  else\n    case ${COMP_WORDS[1]} in\n";
    for (const CLI::App* sub : commands) {
      text += "      " + sub->get_name() + ") words=\"" + joined(command_names(*sub)) +
              (command_names(*sub).empty() ? "" : " ") + joined(flag_names(*sub)) + "\" ;;\n";
    }
    return text +
           "    esac\n  fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n  [ ${#COMPREPLY[@]} -gt "
           "0 ] || COMPREPLY=($(compgen "
           "-f -- \"$current\"))\n}\ncomplete -o filenames -F _cai cai scripts/cai\n";
  }
  if (shell == "fish") {
    std::string text;
    auto quoted = [](std::string help) {
      std::string safe;
      for (char letter : help)
        safe += letter == '\'' ? std::string("\\'") : std::string(1, letter);
      return "'" + safe + "'";
    };
    for (const CLI::App* sub : commands) {
      text += "complete -c cai -n __fish_use_subcommand -f -a " + sub->get_name() + " -d " +
              quoted(sub->get_description()) + "\n";
      for (const std::string& name : command_names(*sub))
        text +=
            "complete -c cai -n '__fish_seen_subcommand_from " + sub->get_name() + "' -f -a " + name + "\n";
      for (const CLI::Option* option : sub->get_options()) {
        for (const std::string& name : option->get_lnames()) {
          text += "complete -c cai -n '__fish_seen_subcommand_from " + sub->get_name() + "' -l " + name +
                  (option->get_items_expected() ? " -r" : "") + " -d " + quoted(option->get_description()) +
                  "\n";
        }
      }
    }
    return text;
  }
  throw UsageError("cai completion: unknown shell " + in_quotes(shell) + "; accepted are bash, zsh, fish");
}

}  // namespace cai
