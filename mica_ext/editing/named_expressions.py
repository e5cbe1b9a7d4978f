"""Twelve facial expressions by name, as ARKit weights."""


def _both(**weights: float) -> dict[str, float]:
    """Weights of both sides of the face."""
    return {name + side: value for name, value in weights.items() for side in ("Left", "Right")}


NAMED_EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.75, cheekSquint=0.4, mouthDimple=0.15),
    "laugh": {"jawOpen": 0.35}
    | _both(mouthSmile=0.85, cheekSquint=0.7, eyeSquint=0.4, mouthUpperUp=0.35),
    "surprise": {"jawOpen": 0.45, "browInnerUp": 0.8} | _both(browOuterUp=0.8, eyeWide=0.7),
    "fear": {"jawOpen": 0.15, "browInnerUp": 0.9}
    | _both(browOuterUp=0.2, eyeWide=0.9, mouthStretch=0.6, mouthLowerDown=0.3),
    "anger": {"mouthShrugLower": 0.3}
    | _both(browDown=0.9, eyeSquint=0.4, noseSneer=0.4, mouthPress=0.5, mouthFrown=0.3),
    "disgust": _both(noseSneer=0.9, browDown=0.5, mouthUpperUp=0.2, mouthFrown=0.4, eyeSquint=0.3),
    "sadness": {"browInnerUp": 0.8, "mouthShrugLower": 0.4}
    | _both(mouthFrown=0.8, eyeBlink=0.25, eyeLookDown=0.3),
    "eyes closed": _both(eyeBlink=1.0),
    "wink": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.6, "mouthSmileLeft": 0.5},
    "kiss": {"mouthPucker": 1.0},
    "cheeks puffed": {"cheekPuff": 0.6, "mouthPucker": 0.2},
}
"""The six of Ekman (1992) in their usual action units, rest, and five single movements."""
