"""Tests the decisions as plain Python."""

import unittest

from defaults import Answer, Default, Defaults, parse


class Decisions(unittest.TestCase):
    defaults = Defaults([Default("shop-test", "rr"), Default("shop-*", "lc"), Default("*", "mh")])

    def test_the_first_pattern_that_matches_decides(self):
        for namespace, scheduler in [("shop-test", "rr"), ("shop-live", "lc"), ("shop", "mh"), ("a", "mh")]:
            answer = self.defaults.answer(namespace, 2, [])
            self.assertEqual(answer.schedulers, [scheduler, scheduler], namespace)

    def test_a_choice_overrides_a_default(self):
        answer = self.defaults.answer("shop-live", 2, [None, "sh"])
        self.assertEqual(answer, Answer(["lc", None], "the default of namespaces shop-*"))
        self.assertIsNone(self.defaults.answer("shop-live", 2, ["rr", "sh"]))

    def test_other_namespaces_keep_what_they_have(self):
        self.assertIsNone(Defaults([Default("shop-*", "lc")]).answer("bank", 1, []))


class Configuration(unittest.TestCase):
    def test_it_is_read(self):
        defaults, problems = parse('{"defaults": [{"namespaces": "shop-*", "scheduler": "lc"}]}')
        self.assertEqual((defaults, problems), (Defaults([Default("shop-*", "lc")]), []))

    def test_every_mistake_is_named(self):
        _, problems = parse('{"default": 1, "defaults": [7, {"namespace": "a", "scheduler": ""}]}')
        self.assertEqual(
            problems,
            [
                "default is an unknown field: use defaults",
                "defaults[0]: must be an object with namespaces and scheduler",
                "defaults[1].namespaces: must be text, not null",
                'defaults[1].scheduler: must be text, not ""',
                "defaults[1].namespace is an unknown field: use one of namespaces, scheduler",
            ],
        )

    def test_it_is_needed(self):
        for configuration in ["null", "[]", "{}", '{"defaults": []}', '{"defaults": {}}']:
            defaults, problems = parse(configuration)
            self.assertEqual(len(problems), 1, configuration)
            self.assertEqual(defaults, Defaults([]))


if __name__ == "__main__":
    unittest.main()
