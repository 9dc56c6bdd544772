"""Ridge embedding: the text states whose edited keys and values come nearest to the old ones.

Paper      RECE (Gong et al., ECCV 2024, arXiv:2407.12383), eq. 5, which derives them in order to
           erase them too:
               c' = (lamb I + sum V^T V)^-1 (sum V^T W) c.
Departs    Used from outside, on every position of a prompt, and on any edit: it needs only the two
           weight files. Smaller lamb comes nearer, with larger states.
Cost       One solve of d equations a lamb, and the pictures.
"""

from erasure_core.attacks.projections import pairs, residual
from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, told
from erasure_core.network.closed_form import ridge_map
from erasure_core.network.diffusion import Context, encode_prompts

NAME = "ridge"
AUDIENCE: Audience = "embeddings"
SHOWN = False
LAMBDAS = (0.1, 0.001)


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw under the ridge embeddings of the subject's prompts, one attempt a lamb."""
    prompts = told(subject.prompts, setting.budget.pictures)
    context = encode_prompts(setting.victim, prompts)
    edited = pairs(setting.base, setting.victim)
    c, attempts = context.states.cpu().double(), []
    for lamb in LAMBDAS:
        x = (c @ ridge_map(edited, lamb).T).to(context.states)
        numbers = {
            "lamb": lamb,
            "residual": residual(edited, x, c),
            "norm": float(x.cpu().double().norm() / c.norm()),
        }
        told_so = Context(x, context.ids, context.pooled)
        attempts.append(Attempt(draw(setting, told_so), prompts, numbers))
    return attempts
